"""What the record keeps of a source that is divided: how, and what each part came to; sealed, as it names files."""

from __future__ import annotations

from tasks.division import Division
from tasks.errors import Damaged
from tasks.record import Record
from tasks.repository import Part
from tasks.repository.keys import RepositoryKeys
from tasks.repository.sealing import seal, unseal


class Parts:
    """Of one source in one run."""

    def __init__(self, record: Record, keys: RepositoryKeys, source: str, run: str) -> None:
        self._record, self._source, self._run = record, source, run
        self._key = keys.metadata

    def division(self) -> Division | None:
        found = self.read("division")
        return Division.from_bytes(found) if found else None

    def keep_division(self, division: Division) -> Division:
        """The first that was kept counts."""
        return Division.from_bytes(self.keep("division", division.to_bytes()))

    def part(self, number: str) -> Part:
        """Raises `Damaged`."""
        found = self.read(number)
        if found is None:
            raise Damaged(f"part {number} of `{self._source}` is not in the record any more: back up again")
        return Part.from_bytes(found)

    def keep_part(self, number: str, part: Part) -> Part:
        """The first that was kept counts."""
        return Part.from_bytes(self.keep(number, part.to_bytes()))

    def read(self, what: str) -> bytes | None:
        data = self._record.part(self._run, f"{self._source}/{what}")
        return unseal(self._key, self._name(what), data) if data else None

    def keep(self, what: str, payload: bytes) -> bytes:
        """The first that was kept under that name counts, and is returned."""
        sealed = seal(self._key, self._name(what), payload)
        kept = self._record.keep_part(self._run, f"{self._source}/{what}", sealed)
        return unseal(self._key, self._name(what), kept)

    def _name(self, what: str) -> str:
        return f"parts/{self._run}/{self._source}/{what}"

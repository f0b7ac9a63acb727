"""What a repository holds, read afresh: its marker, its keyring document and its snapshots, on top of its index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from blake3 import blake3

from tasks.destinations.destination import Destination, Listed, OfFolders
from tasks.errors import (
    Damaged,
    Exists,
    Missing,
    NewerFormat,
    NotARepository,
    NotFound,
    Refused,
    Unavailable,
    WrongKey,
)
from tasks.repository.flights import ahead
from tasks.repository.keys import FORMAT, WriterKey, check_document, keyring_of
from tasks.repository.locks import Locks
from tasks.repository.proof import newest_looked_at
from tasks.repository.sealing import unseal
from tasks.repository.snapshot import Snapshot, is_ahead, is_id
from tasks.repository.stored_index import StoredIndex

_MARKER = "repository"
_SMALL_BYTES = 4 << 20


class Inventory(StoredIndex):
    """The part of a repository that its verbs stand on. Use `open` or `create_or_open`."""

    @classmethod
    def open(cls, destination: Destination, writer: WriterKey, cache: Path | None = None) -> Self:
        """Raises `NotARepository`, `NewerFormat`, `WrongKey`."""
        with _reading_marker():
            fields = json.loads(destination.get(_MARKER))
            found, source = int(fields["format"]), str(fields["source"])
            keyring, identity = str(fields["keyring"]), str(fields["id"])
        if found > FORMAT:
            raise NewerFormat(f"the repository has format {found}; this version reads up to {FORMAT}: upgrade first")
        repository = cls(destination, source, writer, cache)
        if keyring != writer.keyring or identity != repository.keys.identity.hex():
            raise WrongKey(
                f"the repository of `{source}` belongs to keyring {keyring}, not to {writer.keyring}: take the keys of"
                " who wrote it, as `init --from` does, or store in another folder, bucket or `prefix`"
            )
        return repository

    @classmethod
    def create_or_open(
        cls,
        destination: Destination,
        source: str,
        writer: WriterKey,
        document: bytes,
        *,
        cache: Path | None = None,
        begin: bool = True,
    ) -> Self:
        """Puts the keyring document and the marker where they are missing. Without `begin` only the document: raises
        `NotARepository` where there is no marker."""
        name = f"keys/{keyring_of(document)}"
        try:
            opened = cls.open(destination, writer, cache)
        except NotARepository:
            if not begin:
                raise
        else:
            try:
                destination.get(name, 0, 0)
            except Missing:
                _put_once(destination, name, document)
            return opened
        marker = {
            "format": FORMAT,
            "id": writer.for_source(source).identity.hex(),
            "source": source,
            "keyring": writer.keyring,
            "document": blake3(document).hexdigest(),
        }
        _put_once(destination, name, document)
        _put_once(destination, _MARKER, json.dumps(marker).encode())
        return cls.open(destination, writer, cache)

    @staticmethod
    def sources_at(whole: Destination) -> list[str]:
        """By the names of their folders: all whose history lies at a destination."""
        if isinstance(whole, OfFolders):
            return list(whole.folders_with(_MARKER))
        names = (each.name.split("/") for each in whole.list())
        return sorted({parts[0] for parts in names if parts[1:] == [_MARKER]})

    @staticmethod
    def key_document(destination: Destination) -> bytes:
        """The keyring document that is stored beside the packs: with a passphrase, all that a restore needs."""
        with _reading_marker():
            name = f"keys/{json.loads(destination.get(_MARKER))['keyring']}"
        try:
            return destination.get(name)
        except Missing:
            raise Damaged(f"`{name}` is missing: put the keyring's `keyring.json` there under that name") from None

    @staticmethod
    def is_as_stored(destination: Destination, document: bytes) -> bool:
        """Whether it is the keyring document that the marker tells of, to the byte. Raises `Damaged`."""
        with _reading_marker():
            expected = json.loads(destination.get(_MARKER)).get("document")
        return expected in (None, blake3(document).hexdigest())

    def answers(self) -> bool:
        """Whether anything can be read here now."""
        try:
            self.destination.get(_MARKER, 0, 1)
        except Unavailable:
            return False
        return True

    def check_key_document(self) -> None:
        """Raises `Damaged` or `NewerFormat` where the keyring document that is stored here would open nothing."""
        document = self.key_document(self.destination)
        check_document(document, self.writer)
        if not self.is_as_stored(self.destination, document):
            raise Damaged(f"`keys/{self.writer.keyring}` is not what was stored: put `keyring.json` there in its place")

    def snapshots(self) -> list[Snapshot]:
        """All of them, oldest first; what is dated ahead, by a clock that was wrong, comes before all others. Raises
        `Damaged` naming one that can't be read."""
        return self._in_order(
            ahead(lambda each: self._snapshot(each.name), self._listed_snapshots(), is_small=_is_small)
        )

    def readable_snapshots(self) -> list[Snapshot]:
        """Those that can be read, in the same order: one damaged object must stop neither a capture nor a restore."""

        def read(each: Listed) -> Snapshot | None:
            with suppress(Damaged, NewerFormat, NotFound):
                return self.snapshot(_id_of(each))
            return None

        return self._in_order(filter(None, ahead(read, self._listed_snapshots(), is_small=_is_small)))

    def last_to_go_by(self) -> Snapshot | None:
        """The one whose files are not read again where they did not change: the last that was looked at by a holder of
        the private key, for whoever has a writer's key can seal one that says of a file what it never held. Where none
        ever was, the newest."""
        snapshots = {each.id: each for each in self.readable_snapshots()}
        if not snapshots:
            return None
        looked_at = newest_looked_at(self.destination, self.keys, list(snapshots))
        return snapshots[looked_at or next(reversed(snapshots))]

    def _in_order(self, found: Iterable[Snapshot]) -> list[Snapshot]:
        now = self.clock()
        return sorted(found, key=lambda each: (not is_ahead(each.started, now), each.started, each.id))

    def snapshot_ids(self) -> list[str]:
        """Without reading them; sorted by time."""
        return [_id_of(each) for each in self._listed_snapshots()]

    def _listed_snapshots(self) -> list[Listed]:
        return [each for each in self.destination.list("snapshots/") if is_id(_id_of(each))]

    def snapshot(self, snapshot_id: str) -> Snapshot:
        """Raises `NotFound`."""
        try:
            return self._snapshot(f"snapshots/{snapshot_id}")
        except (Missing, Refused):
            raise NotFound(
                f"`{self.source}` has no snapshot `{snapshot_id}` here: `list` shows what there is"
            ) from None

    def _snapshot(self, name: str) -> Snapshot:
        payload = unseal(self.keys.metadata, name, self.destination.get(name))
        return Snapshot.from_bytes(name, payload)

    def locks(self) -> Locks:
        """Of what is stored here, as far as it is locked at all."""
        return Locks(self.destination, self._cache)


@contextmanager
def _reading_marker() -> Iterator[None]:
    try:
        yield
    except Missing:
        raise NotARepository("there is no repository at this destination: nothing was ever uploaded here") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise Damaged("`repository` can't be read: the object that says what is stored here is damaged") from None


def _id_of(snapshot: Listed) -> str:
    return snapshot.name.removeprefix("snapshots/")


def _is_small(snapshot: Listed) -> bool:
    """Several larger ones are not read at once: somebody may have put them there only to fill the memory."""
    return snapshot.size <= _SMALL_BYTES


def _put_once(destination: Destination, name: str, data: bytes) -> None:
    try:
        destination.put(name, data)
    except Exists:
        if destination.get(name) != data:
            raise WrongKey(f"`{name}` is there already and is another: two installations share this place") from None

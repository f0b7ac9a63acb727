"""Which chunks have to be stored: those that are not known, each the first time it comes along."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.repository.known import Known
from tasks.repository.names import NameSet
from tasks.repository.naming import Naming


class Claims:
    """Claims the new ones; `naming` names them. Used by one thread. A buffer's chunks are handled together: chunks of
    1 KiB leave no time for anything that is done for each of them."""

    def __init__(self, naming: bytes, known: Known) -> None:
        self.naming = Naming(naming)
        self._known = known
        self._new = NameSet()

    def claim(self, name: bytes) -> bool:
        """True if the chunk has to be stored; from now on it counts as stored."""
        return not self._known.knows(name) and self._new.add(name)

    def claim_all(self, names: list[bytes], joined: bytes) -> Iterator[tuple[int, int]]:
        """The stretches of these names, from and until, that have to be stored; from now on they count as stored."""
        missing = self._known.missing(names, joined)
        fresh = self._new.add_all(names, missing) if missing else []
        first = 0
        for at in range(1, len(fresh) + 1):
            if at == len(fresh) or fresh[at] != fresh[at - 1] + 1:
                yield fresh[first], fresh[at - 1] + 1
                first = at

"""What a capture may rely on: chunks that are stored, wherever they lie. 16 bytes of memory a chunk, where an index of
all their places would take 28."""

from __future__ import annotations

from tasks.numbers import Numbers
from tasks.repository.names import SortedNames, halves
from tasks.repository.pack import LISTS, SealedPack
from tasks.repository.runs import Growing


class Known:
    """The names of packs, and of the chunks in them. First `add`, then look up."""

    def __init__(self, *, lists: bool = False) -> None:
        """`lists`: of other packs than these, no chunk is known."""
        self._lists = lists
        self.forget()

    def forget(self) -> None:
        self.packs = set[bytes]()
        self._rows = Growing("QQ")
        self._names: SortedNames | None = None

    def add(self, pack: SealedPack) -> None:
        if pack.name in self.packs:
            return
        self.packs.add(pack.name)
        if pack.kind == LISTS or not self._lists:
            self._rows.add(halves(pack.listed.names))
            self._names = None

    def knows(self, name: bytes) -> bool:
        return self._sorted().row(name) >= 0

    def missing(self, names: list[bytes], joined: bytes) -> list[int]:
        """Of names, and the same joined: the places of those that are not there."""
        return self._sorted().missing(names, joined)

    def has(self, names: bytes) -> Numbers:
        """Of names joined: a boolean each."""
        there: Numbers = self._sorted().rows(names) >= 0
        return there

    def _sorted(self) -> SortedNames:
        if self._names is None:
            self._names = SortedNames(*self._rows.rows())
        return self._names

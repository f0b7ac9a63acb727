"""Many chunk names in little memory: sorted runs of 16 bytes a name, and a set that grows by such runs."""

from __future__ import annotations

from bisect import bisect_left

from tasks.numbers import Numbers, numpy
from tasks.repository.runs import Run, merged, sorted_run

_FEW = 16
"""Names that are found sooner one by one than together."""

_HALVES = numpy.dtype([("high", ">u8"), ("low", ">u8")])


def halves(names: bytes | bytearray) -> tuple[Numbers, Numbers]:
    """Names of 16 bytes each, joined, as two arrays of 64-bit numbers that sort as the names do by their first half."""
    both = numpy.frombuffer(bytes(names), _HALVES)
    return both["high"].astype(numpy.uint64), both["low"].astype(numpy.uint64)


class SortedNames:
    """Names sorted by their first half; a name's row is its place in that order."""

    def __init__(self, high: Numbers, low: Numbers) -> None:
        self.high, self.low = high, low
        # Bisecting a memoryview costs a third of what a NumPy look-up of one number does.
        self._high = high.data.cast("B").cast("Q")
        self._low = low.data.cast("B").cast("Q")

    def __len__(self) -> int:
        return len(self.high)

    def taken_apart(self) -> Run:
        return [self.high, self.low]

    def row(self, name: bytes) -> int:
        """-1 if it is not there."""
        high, end = int.from_bytes(name[:8], "big"), len(self._high)
        at = bisect_left(self._high, high)
        # First halves that are equal are one pair in 2^64.
        while at < end and self._high[at] == high:
            if self._low[at] == int.from_bytes(name[8:], "big"):
                return at
            at += 1
        return -1

    def name(self, row: int) -> bytes:
        return self._high[row].to_bytes(8, "big") + self._low[row].to_bytes(8, "big")

    def joined(self, rows: Numbers) -> bytes:
        """The names in these rows, 16 bytes each."""
        both = numpy.empty(len(rows), _HALVES)
        both["high"], both["low"] = self.high[rows], self.low[rows]
        return both.tobytes()

    def rows(self, names: bytes | bytearray) -> Numbers:
        """Of names joined: the row of each, or -1."""
        high, low = halves(names)
        return self._first(numpy.searchsorted(self.high, high).astype(numpy.int64), high, low)

    def missing(self, names: list[bytes], joined: bytes) -> list[int]:
        """Of names, and the same joined: the places of those that are not there."""
        if not len(self):
            return list(range(len(names)))
        if len(names) < _FEW:
            return [at for at, name in enumerate(names) if self.row(name) < 0]
        places: list[int] = (self.rows(joined) < 0).nonzero()[0].tolist()
        return places

    def again(self, rows: Numbers) -> Numbers:
        """Of rows that are there: the next one of the same name, or -1."""
        return self._first(rows + 1, self.high[rows], self.low[rows])

    def _first(self, at: Numbers, high: Numbers, low: Numbers) -> Numbers:
        """From row `at` on, where equal first halves lie together: the row of each name, or -1."""
        found: Numbers = numpy.full(len(at), -1, numpy.int64)
        pending = numpy.arange(len(at))
        while len(pending):
            pending = pending[at[pending] < len(self.high)]
            pending = pending[self.high[at[pending]] == high[pending]]
            hit = self.low[at[pending]] == low[pending]
            found[pending[hit]] = at[pending[hit]]
            pending = pending[~hit]
            at[pending] += 1
        return found


class NameSet:
    """A growing set of names: the young ones in a Python set, the old ones in sorted runs that merge as they grow. What
    the old ones begin with, in 22 bits, is marked: up to some millions of them, most new names that are added one by
    one need no search in a run."""

    _YOUNG = 1 << 15
    _MARKED = 22

    def __init__(self) -> None:
        self._young: set[bytes] = set()
        self._runs: list[SortedNames] = []
        self._marks = bytearray()

    def add(self, name: bytes) -> bool:
        """True if it was not there yet."""
        young = self._young
        if name in young:
            return False
        if self._marks and self._marks[int.from_bytes(name[:3], "big") >> 24 - self._MARKED]:
            for run in self._runs:
                if run.row(name) >= 0:
                    return False
        young.add(name)
        if len(young) >= self._YOUNG:
            self._age()
        return True

    def add_all(self, names: list[bytes], places: list[int]) -> list[int]:
        """Add the names at `places`; the places of those that were not there yet."""
        for run in self._runs:
            if not places:
                return places
            there = run.rows(b"".join([names[at] for at in places])).tolist()
            places = [at for at, row in zip(places, there, strict=True) if row < 0]
        young, added = self._young, []
        for at in places:
            if (name := names[at]) not in young:
                young.add(name)
                added.append(at)
        self._age()
        return added

    def _age(self) -> None:
        """Many young names become a sorted run, and runs of about one length become one."""
        if len(self._young) < self._YOUNG:
            return
        run = SortedNames(*sorted_run(halves(b"".join(self._young))))
        self._runs.append(run)
        self._marks = self._marks or bytearray(1 << self._MARKED)
        numpy.frombuffer(self._marks, numpy.uint8)[run.high >> numpy.uint64(64 - self._MARKED)] = 1
        self._young.clear()
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            self._runs.append(SortedNames(*merged([self._runs.pop().taken_apart() for _ in range(2)])))

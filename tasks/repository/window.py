"""Which bytes of which blocks belong where, for a window of chunks: sorted by block, neighbours merged into one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock
from typing import NamedTuple

from tasks.errors import Damaged
from tasks.item import Stored
from tasks.numbers import Numbers, distinct, numpy
from tasks.repository.blocks import lost_chunk, shown
from tasks.repository.index import Index
from tasks.repository.pack import NAME

MOST = 1 << 14
"""Chunks looked at together: some 1 GB of small chunks, in some megabytes of memory."""

MOST_ITEMS = 1 << 13
"""Items looked at together: each takes a kilobyte and more, so a million of small ones must not be."""


class Pending:
    """An item some of whose bytes are on their way. `offset`: bytes whose chunks were planned; `left` counts runs to be
    written, and one more until all chunks are listed; of one that is `lost` no more is planned."""

    __slots__ = ("item", "left", "listed", "lost", "offset")

    def __init__(self, item: Stored) -> None:
        self.item, self.left, self.listed, self.offset, self.lost = item, 1, False, 0, False

    def is_whole(self, length: int) -> bool:
        """Whether a run of that length is all there is of the item."""
        return self.listed and self.offset == length


Run = tuple[Pending, int, int, int]
"""An item, an offset in it, and from where to where in a decoded block the bytes lie that belong there."""


class Job(NamedTuple):
    """What is needed of one block: `rows` of the index, each once, and the runs they make."""

    block: int
    rows: Numbers
    runs: list[Run]


Lose = Callable[[Pending, Damaged], None]
"""Makes an item `lost`; or raises, where all end with it."""


class Window:
    """Add names of chunks, item by item; then `plan` once."""

    def __init__(self) -> None:
        self._names = bytearray()
        self._pending: list[Pending] = []
        self._counts: list[int] = []

    @staticmethod
    def parts(names: bytes) -> Iterator[bytes]:
        """Names in parts that a window takes at once."""
        if len(names) <= MOST * NAME:
            yield names
            return
        for at in range(0, len(names), MOST * NAME):
            yield names[at : at + MOST * NAME]

    def add(self, pending: Pending, names: bytes) -> bool:
        """True if the window is full."""
        if pending.lost:
            return self._is_full()
        self._names += names
        if self._pending and self._pending[-1] is pending:
            self._counts[-1] += len(names) // NAME
        else:
            self._pending.append(pending)
            self._counts.append(len(names) // NAME)
        return self._is_full()

    def add_all(self, pending: Pending, names: bytes) -> bool:
        """`add` and `end` in one, for an item of which nothing was added."""
        self._names += names
        self._pending.append(pending)
        self._counts.append(len(names) // NAME)
        pending.listed = True
        return self._is_full()

    def end(self, pending: Pending) -> bool:
        """There are no more names of this item. True if the window is full."""
        pending.listed = True
        if not pending.lost and (not self._pending or self._pending[-1] is not pending):
            self._pending.append(pending)
            self._counts.append(0)
        return self._is_full()

    def _is_full(self) -> bool:
        return len(self._names) >= MOST * NAME or len(self._pending) >= MOST_ITEMS

    def plan(self, index: Index, lock: Lock, lose: Lose) -> tuple[Iterator[Job], list[Pending]]:
        """The jobs, by block, and the items that have no bytes at all. `lose` is told of each item that a chunk of is
        missing, or that is not as long as it should be."""
        counts = numpy.array(self._counts, numpy.int64)
        owners = numpy.repeat(numpy.arange(len(counts)), counts)
        rows = index.rows(self._names)
        if len(rows) and rows.min() < 0:
            for owner in distinct(owners[rows < 0]).tolist():
                lose(self._pending[owner], lost_chunk(shown(self._pending[owner].item)))
            return self._rest().plan(index, lock, lose)
        block, start, length = index.places(rows)
        before = numpy.zeros(len(rows) + 1, numpy.int64)
        numpy.cumsum(length, out=before[1:])
        first = numpy.cumsum(counts) - counts
        bases = before[first]
        sizes = (before[first + counts] - bases).tolist()
        wrong = self._wrong_sizes(sizes)
        if wrong:
            for pending, error in wrong:
                lose(pending, error)
            return self._rest().plan(index, lock, lose)
        offsets = before[:-1] - (bases - self._take_offsets(sizes))[owners]
        order = numpy.argsort(block, kind="stable")
        rows, block, start, owners, offsets = rows[order], block[order], start[order], owners[order], offsets[order]
        end = start + length[order]
        begins = numpy.ones(len(rows), bool)
        changed = block[1:] != block[:-1]
        reached = offsets[:-1] + (end - start)[:-1]
        begins[1:] = changed | (owners[1:] != owners[:-1]) | (start[1:] != end[:-1]) | (offsets[1:] != reached)
        firsts = numpy.flatnonzero(begins)
        nothing = self._count(numpy.bincount(owners[firsts], minlength=len(counts)).tolist(), lock)
        lasts = numpy.append(firsts[1:], len(rows)) - 1 if len(rows) else firsts
        runs = zip(
            map(self._pending.__getitem__, owners[firsts].tolist()),
            offsets[firsts].tolist(),
            start[firsts].tolist(),
            end[lasts].tolist(),
            strict=True,
        )
        blocks = numpy.flatnonzero(numpy.append(True, changed)) if len(rows) else firsts
        return _jobs(rows, block, list(runs), (blocks, numpy.searchsorted(firsts, blocks))), nothing

    def _rest(self) -> Window:
        """Without those that are lost."""
        rest, at = Window(), 0
        for pending, count in zip(self._pending, self._counts, strict=True):
            if not pending.lost:
                rest._pending.append(pending)
                rest._counts.append(count)
                rest._names += self._names[at * NAME : (at + count) * NAME]
            at += count
        return rest

    def _wrong_sizes(self, sizes: list[int]) -> list[tuple[Pending, Damaged]]:
        """Those that are not as long as they should be."""
        wrong = []
        for pending, size in zip(self._pending, sizes, strict=True):
            end, expected = pending.offset + size, pending.item.entry.content_size
            if end > expected or (pending.listed and end < expected):
                has = "at least " * (not pending.listed) + str(end)
                wrong.append((pending, Damaged(f"{shown(pending.item)} has {has} bytes; the snapshot says {expected}")))
        return wrong

    def _take_offsets(self, sizes: list[int]) -> Numbers:
        """Where in its item each stretch begins."""
        begin = []
        for pending, size in zip(self._pending, sizes, strict=True):
            begin.append(pending.offset)
            pending.offset += size
        return numpy.array(begin, numpy.int64)

    def _count(self, runs: list[int], lock: Lock) -> list[Pending]:
        nothing = []
        with lock:
            for pending, count in zip(self._pending, runs, strict=True):
                pending.left += count - pending.listed
                if not pending.left:
                    nothing.append(pending)
        return nothing


def _jobs(rows: Numbers, block: Numbers, runs: list[Run], firsts: tuple[Numbers, Numbers]) -> Iterator[Job]:
    """`firsts`: the first row, and the first run, of each block."""
    row, run = (each.tolist() for each in firsts)
    for at, first in enumerate(row):
        last = at + 1 == len(row)
        until_row, until_run = (len(rows), len(runs)) if last else (row[at + 1], run[at + 1])
        yield Job(int(block[first]), distinct(rows[first:until_row]), runs[run[at] : until_run])

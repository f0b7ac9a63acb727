"""A stored item's bytes in order, for whoever reads them one after the other: blocks are read ahead of it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

from tasks.errors import Damaged
from tasks.item import Reading, Stored
from tasks.numbers import Numbers, numpy
from tasks.repository.blocks import Blocks, cut_short, lost_chunk, shown
from tasks.repository.pack import NAME

_AHEAD = 6
"""Stretches of a block on their way: at 50 ms a call they still bring 200 MB a second."""

_HELD = 16
"""Blocks kept: an old stream with a few changes goes back and forth between its old blocks and new ones."""

_FEW = 4


class _Stretch(NamedTuple):
    """Chunks in a row that lie in one block: their rows in the index, and, joined where they touch, from where to
    where."""

    block: int
    rows: Numbers
    spans: list[tuple[int, int]]


class ContentStream:
    """A `Stream`. Raises `Damaged` rather than give a wrong byte, and at the end where bytes are missing."""

    def __init__(self, blocks: Blocks, lists: Iterable[bytes], item: Stored) -> None:
        """`lists`: the names of its chunks, joined, part by part."""
        self._blocks, self._lists, self._item = blocks, lists, item
        few = not item.level and len(item.content) <= _FEW * NAME
        self._runs = self._one_by_one() if few else self._ahead()
        self._rest = memoryview(b"")
        self._left = item.entry.content_size

    def readinto(self, buffer: memoryview, /) -> int:
        while not self._rest:
            run = next(self._runs, None)
            if run is None:
                if self._left:
                    raise Damaged(f"{shown(self._item)} is shorter or longer than the snapshot says")
                return 0
            self._rest = run
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._left -= count
        return count

    def close(self) -> Reading:
        self._runs.close()
        return Reading(self._item.entry)

    def _one_by_one(self) -> Generator[memoryview]:
        for names in self._lists:
            for at in range(0, len(names), NAME):
                yield self._blocks.chunk(names[at : at + NAME], shown(self._item))

    def _ahead(self) -> Generator[memoryview]:
        pool = ThreadPoolExecutor(_AHEAD, "reading")
        held: OrderedDict[int, Future[memoryview]] = OrderedDict()
        coming: deque[tuple[_Stretch, Future[memoryview]]] = deque()
        try:
            for stretch in self._stretches():
                block = held.pop(stretch.block, None) or pool.submit(self._blocks.read, stretch.block)
                held[stretch.block] = block
                if len(held) > _HELD:
                    held.popitem(last=False)
                coming.append((stretch, block))
                if len(coming) > _AHEAD:
                    yield from self._verified(*coming.popleft())
            while coming:
                yield from self._verified(*coming.popleft())
        finally:
            # Also where the reader stops halfway: what was asked for in vain is waited for, and nothing more is.
            pool.shutdown(cancel_futures=True)

    def _verified(self, stretch: _Stretch, block: Future[memoryview]) -> Iterable[memoryview]:
        data = block.result()
        self._blocks.verify_rows(stretch.rows, data, stretch.block)
        return [data[start:end] for start, end in stretch.spans]

    def _stretches(self) -> Generator[_Stretch]:
        index = self._blocks.index
        for names in self._lists:
            if len(names) % NAME:
                raise cut_short(shown(self._item))
            rows = index.rows(names)
            if len(rows) and rows.min() < 0:
                raise lost_chunk(shown(self._item))
            block, start, length = index.places(rows)
            end = start + length
            turned = block[1:] != block[:-1]
            apart = numpy.flatnonzero(turned | (start[1:] != end[:-1])) + 1
            turns = numpy.flatnonzero(turned) + 1
            bounds = [0, *turns.tolist(), len(rows)] if len(rows) else []
            inner = numpy.searchsorted(apart, bounds).tolist()
            for at, (first, after) in enumerate(pairwise(bounds)):
                begins = apart[inner[at] : inner[at + 1]].tolist()
                if not begins or begins[0] != first:
                    begins.insert(0, first)
                spans = [(int(start[a]), int(end[z - 1])) for a, z in pairwise([*begins, after])]
                yield _Stretch(int(block[first]), rows[first:after], spans)

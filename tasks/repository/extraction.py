"""Many items' bytes at once: a window of chunks is sorted by block, each block is decoded once, in parallel."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from tasks.errors import Damaged
from tasks.item import Sink, Stored
from tasks.repository.blocks import Blocks, columns_of, shown
from tasks.repository.columns import Columns, join
from tasks.repository.cores import cores
from tasks.repository.index import Place

_WINDOW = 1 << 16
"""Chunks looked at together: some 4 GB of small chunks, in some 20 MB of memory."""


class _Pending:
    """An item some of whose bytes are on their way. `left` counts chunks, and one more until all are listed."""

    __slots__ = ("item", "left")

    def __init__(self, item: Stored) -> None:
        self.item, self.left = item, 1


class _Run(NamedTuple):
    """Bytes `start` to `end` of a decoded block, which belong at `offset` of an item."""

    pending: _Pending
    offset: int
    start: int
    end: int
    name: bytes


class _Window(NamedTuple):
    """Rows of an item, `size` bytes from `start`, whose columns lie apart."""

    pending: _Pending
    columns: Columns
    start: int
    size: int


class Extraction:
    """Add items, leave the context: all their bytes are in the sink, or the first error is raised."""

    def __init__(self, blocks: Blocks, into: Sink) -> None:
        self._blocks, self._into = blocks, into
        self._lock = threading.Lock()
        threads = cores()
        self._pool = ThreadPoolExecutor(threads, "extracting")
        self._at_once = 2 * threads + 2
        self._running: deque[Future[None]] = deque()
        self._window: dict[int, list[_Run]] = {}
        self._count = 0

    def __enter__(self) -> Extraction:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._flush()
                while self._running:
                    self._running.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def add(self, item: Stored, names: Iterator[bytes]) -> None:
        """Raises `Damaged` where the chunks are not there, or are not as many bytes as the item has."""
        pending, offset = _Pending(item), 0
        if item.columns:
            offset = self._add_windows(pending, names)
        for name in names:
            place = self._place(item, name)
            run = _Run(pending, offset, place.offset, place.offset + place.length, name)
            self._window.setdefault(place.block, []).append(run)
            offset += place.length
            with self._lock:
                pending.left += 1
            self._count += 1
            if self._count >= _WINDOW:
                self._flush()
        if offset != item.entry.content_size:
            raise Damaged(f"{shown(item)} has {offset} bytes; the snapshot says {item.entry.content_size}")
        self._less(pending, 1)

    def _add_windows(self, pending: _Pending, names: Iterator[bytes]) -> int:
        """Windows of an item whose columns are stored apart, each put together in memory. Returns where they end."""
        item, end = pending.item, 0
        columns = columns_of(item)
        for start, end in columns.windows():
            offset, size, blocks = 0, end - start, dict[int, list[_Run]]()
            while offset < size:
                name = next(names, None)
                if name is None:
                    raise Damaged(f"{shown(item)} ends within a row")
                place = self._place(item, name)
                run = _Run(pending, offset, place.offset, place.offset + place.length, name)
                blocks.setdefault(place.block, []).append(run)
                offset += place.length
            if offset != size:
                raise Damaged(f"{shown(item)}: a chunk of it lies across two windows of rows")
            with self._lock:
                pending.left += 1
            self._submit(self._gather, _Window(pending, columns, start, size), blocks)
        return end

    def _gather(self, window: _Window, blocks: dict[int, list[_Run]]) -> None:
        stored = memoryview(bytearray(window.size))
        for number in sorted(blocks):
            # Narrow columns of many windows share a block.
            block = self._blocks.cached(number)
            for _, offset, start, end, name in blocks[number]:
                self._blocks.verify(name, block[start:end], number)
                stored[offset : offset + end - start] = block[start:end]
        self._into.write(window.pending.item, window.start, join(stored, window.columns.widths))
        self._less(window.pending, 1)

    def _place(self, item: Stored, name: bytes) -> Place:
        place = self._blocks.index.find(name)
        if place is None:
            raise Damaged(f"{shown(item)}: a chunk of it is in no pack that an index names")
        return place

    def _submit(self, work: Callable[..., None], *arguments: object) -> None:
        if len(self._running) >= self._at_once:
            self._running.popleft().result()
        self._running.append(self._pool.submit(work, *arguments))

    def _flush(self) -> None:
        window, self._window, self._count = self._window, {}, 0
        for number in sorted(window):
            self._submit(self._write, number, window[number])

    def _write(self, number: int, runs: list[_Run]) -> None:
        block = self._blocks.read(number)
        for run in runs:
            self._blocks.verify(run.name, block[run.start : run.end], number)
        at = 0
        while at < len(runs):
            pending, offset, start, end, _ = runs[at]
            first = at
            at += 1
            # Chunks that follow each other in the block and in the item are one write.
            while at < len(runs) and runs[at].pending is pending and runs[at].start == end:
                if runs[at].offset != offset + end - start:
                    break
                end = runs[at].end
                at += 1
            self._into.write(pending.item, offset, block[start:end])
            self._less(pending, at - first)

    def _less(self, pending: _Pending, chunks: int) -> None:
        with self._lock:
            pending.left -= chunks
            complete = not pending.left
        if complete:
            self._into.complete(pending.item)

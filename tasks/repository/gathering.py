"""Items whose columns are stored apart, put together again: a window of rows in memory, several at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from tasks.cores import cores
from tasks.errors import Damaged
from tasks.item import ForgivingSink, Sink, Stored
from tasks.numbers import Numbers, distinct, numpy
from tasks.repository.blocks import Blocks, columns_of, lost_chunk, shown
from tasks.repository.columns import WINDOW, join


class _Pending:
    """An item some of whose bytes are on their way. `left` counts stretches, and one more until all are listed."""

    __slots__ = ("item", "left")

    def __init__(self, item: Stored) -> None:
        self.item, self.left = item, 1


class _Stretch(NamedTuple):
    """Bytes `start` to `end` of an item: a window of rows of these `widths`, or, without, bytes as they are; `rows` of
    the index in the order in which they are stored."""

    pending: _Pending
    start: int
    end: int
    widths: tuple[int, ...]
    rows: Numbers


class Gathering:
    """Add items, leave the context: all their bytes are in the sink, or the first error is raised. One that needs what
    is damaged or missing is lost alone, where the sink forgives that."""

    def __init__(self, blocks: Blocks, into: Sink) -> None:
        self._blocks, self._into = blocks, into
        self._lock = threading.Lock()
        self._at_once = cores() + 1
        self._pool = ThreadPoolExecutor(cores(), "gathering")
        self._running: deque[Future[None]] = deque()

    def __enter__(self) -> Gathering:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            while error is None and self._running:
                self._running.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def add(self, item: Stored, lists: Iterable[bytes]) -> None:
        """`lists`: the names of its chunks, joined, part by part. Here or at the end raises `Damaged` where the chunks
        are not there, or are not what the item's columns need."""
        try:
            self._add(item, lists)
        except Damaged as error:
            self._lose(item, error)

    def _add(self, item: Stored, lists: Iterable[bytes]) -> None:
        shape, pending = columns_of(item), _Pending(item)
        window = shape.rows * shape.row
        rows: list[int] = []
        start = end = 0
        for names in lists:
            found = self._blocks.index.rows(names)
            if len(found) and found.min() < 0:
                raise lost_chunk(shown(item))
            _, _, lengths = self._blocks.index.places(found)
            for row, length in zip(found.tolist(), lengths.tolist(), strict=True):
                rows.append(row)
                end += length
                in_rows = start < shape.length
                due = min(start + window, shape.length) if in_rows else start + WINDOW // 2
                if end < due:
                    continue
                if in_rows and end > due:
                    raise Damaged(f"{shown(item)}: a chunk of it lies across two windows of rows")
                self._submit(_Stretch(pending, start, end, shape.widths if in_rows else (), numpy.array(rows)))
                rows, start = [], end
        if end != item.entry.content_size or start < shape.length:
            raise Damaged(f"{shown(item)} has {end} bytes; the snapshot says {item.entry.content_size}")
        if rows:
            self._submit(_Stretch(pending, start, end, (), numpy.array(rows)))
        self._less(pending)

    def _submit(self, stretch: _Stretch) -> None:
        with self._lock:
            stretch.pending.left += 1
        while len(self._running) >= self._at_once:
            self._running.popleft().result()
        self._running.append(self._pool.submit(self._gather, stretch))

    def _gather(self, stretch: _Stretch) -> None:
        item = stretch.pending.item
        try:
            whole = self._read(stretch)
        except Damaged as error:
            self._lose(item, error)
            return
        self._into.write(item, stretch.start, whole)
        self._less(stretch.pending)

    def _lose(self, item: Stored, error: Damaged) -> None:
        if not isinstance(self._into, ForgivingSink):
            raise error
        self._into.lost(item, error)

    def _read(self, stretch: _Stretch) -> memoryview:
        rows = stretch.rows
        stored = memoryview(bytearray(stretch.end - stretch.start))
        block, begin, length = self._blocks.index.places(rows)
        place = numpy.cumsum(length, dtype=numpy.int64) - length
        for number in distinct(block).tolist():
            # Narrow columns of many windows share a block, and so do the few chunks of a night that changed little.
            data = self._blocks.cached(number)
            here = block == number
            self._blocks.verify_rows(rows[here], data, number)
            spans = zip(place[here].tolist(), begin[here].tolist(), length[here].tolist(), strict=True)
            for at, first, size in spans:
                stored[at : at + size] = data[first : first + size]
        return join(stored, stretch.widths) if stretch.widths else stored

    def _less(self, pending: _Pending) -> None:
        with self._lock:
            pending.left -= 1
            complete = not pending.left
        if complete:
            self._into.complete(pending.item)

"""Many items' bytes at once: a window of chunks is planned, ranges are fetched ahead, each block is decoded once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from operator import attrgetter

from tasks.cores import cores
from tasks.errors import Damaged
from tasks.item import ForgivingSink, Sink, Stored, WholeSink
from tasks.repository.blocks import Blocks, Fetched, cut_short, shown
from tasks.repository.pack import NAME
from tasks.repository.window import Job, Pending, Window

_RANGE = 4 << 20
"""Stored bytes of neighbouring blocks that are fetched together."""

_RANGES_AHEAD = 8
"""Ranges on their way: at 50 ms a call they still bring 600 MB a second."""

_RANGES_NEAR = 2
"""The same of files of this host."""

_FEW_RUNS = 64
"""As a block of pages has, of which some were changed since; one of small files has hundreds."""

_BLOCK = attrgetter("block")

_NO_BYTES = memoryview(b"")

_HANDED_BACK = 2
"""Blocks that the caller's thread is left to finish: one that it is at, and the next."""


class Extraction:
    """Add items, leave the context: all their bytes are in the sink, or the first error is raised. Items that need what
    is damaged or missing are lost alone, where the sink forgives that.

    Three kinds of threads: some wait for the destination; for each core but one, another decodes; and the caller's
    verifies and writes what these decoded. Where it can't keep up they do that too, but for blocks of many small items,
    which is all Python and system calls: two threads would wait for each other's turn there, and 20,000 small files
    take an eighth more CPU. So two cores have one thread of each kind of work, and not two that do the same.
    """

    def __init__(self, blocks: Blocks, into: Sink) -> None:
        self._blocks, self._into = blocks, into
        self._whole = into.whole if isinstance(into, WholeSink) else None
        self._lost = into.lost if isinstance(into, ForgivingSink) else None
        self._lock = threading.Lock()
        threads = max(1, cores() - 1)
        self._decoders = ThreadPoolExecutor(threads, "extracting")
        self._fetchers = ThreadPoolExecutor(_RANGES_AHEAD, "fetching")
        self._at_once = 2 * threads + 2
        self._running: deque[Future[Callable[[], None] | None]] = deque()
        self._handed_back = 0
        self._window = Window()

    def __enter__(self) -> Extraction:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._flush()
        finally:
            for pool in (self._fetchers, self._decoders):
                pool.shutdown(cancel_futures=True)

    def add(self, item: Stored, lists: Iterable[bytes] = ()) -> None:
        """`lists`: the names of its chunks, joined, part by part, unless they are in its record. Here or at the end
        raises `Damaged` where the chunks are not there, or are not as many bytes as the item has."""
        pending = Pending(item)
        if not item.level:
            if len(item.content) % NAME:
                self._lose(pending, cut_short(shown(item)))
            elif self._window.add_all(pending, item.content):
                self._flush()
            return
        for part in self._listed(pending, lists):
            if self._window.add(pending, part):
                self._flush()
        if self._window.end(pending):
            self._flush()

    def _listed(self, pending: Pending, lists: Iterable[bytes]) -> Iterator[bytes]:
        """Names in parts that a window takes at once."""
        try:
            for names in lists:
                if pending.lost:
                    return
                if len(names) % NAME:
                    raise cut_short(shown(pending.item))
                yield from self._window.parts(names)
        except Damaged as error:
            self._lose(pending, error)

    def _flush(self) -> None:
        window, self._window = self._window, Window()
        jobs, nothing = window.plan(self._blocks.index, self._lock, self._lose)
        for pending in nothing:
            if self._whole and pending.is_whole(0):
                self._whole(pending.item, _NO_BYTES)
            else:
                self._into.complete(pending.item)
        fetching: deque[tuple[list[Job], Future[Fetched]]] = deque()
        most = 0
        for group in self._blocks.neighbours(jobs, _BLOCK, _RANGE):
            most = most or (_RANGES_NEAR if self._blocks.is_near(group[0].block) else _RANGES_AHEAD)
            fetching.append((group, self._fetchers.submit(self._blocks.fetch, group[0].block, group[-1].block)))
            if len(fetching) >= most:
                self._decode_group(*fetching.popleft())
        while fetching:
            self._decode_group(*fetching.popleft())
        # What is decoded belongs to this window; the next one is listed meanwhile only in theory, by this same thread.
        while self._running:
            self._settle()

    def _decode_group(self, group: list[Job], fetched: Future[Fetched]) -> None:
        try:
            stored = fetched.result()
        except Damaged as error:
            if len(group) == 1 or self._lost is None:
                self._lose_all(group[0], error)
            else:
                for job in group:
                    self._decode_group([job], self._fetchers.submit(self._blocks.fetch, job.block, job.block))
            return
        for job in group:
            if len(self._running) >= self._at_once:
                self._settle()
            self._running.append(self._decoders.submit(self._decode, job, stored))

    def _settle(self) -> None:
        left = self._running.popleft().result()
        if left:
            left()

    def _decode(self, job: Job, stored: Fetched) -> Callable[[], None] | None:
        """What is left to the caller's thread."""
        try:
            block = self._blocks.decode(job.block, stored)
        except Damaged as error:
            self._lose_all(job, error)
            return None
        few = len(job.runs) <= _FEW_RUNS
        if few and not self._hand_back():
            self._finish(job, block)
            return None
        return partial(self._finish, job, block, handed_back=few)

    def _hand_back(self) -> bool:
        with self._lock:
            free = self._handed_back < _HANDED_BACK
            self._handed_back += free
        return free

    def _finish(self, job: Job, block: memoryview, *, handed_back: bool = False) -> None:
        try:
            self._blocks.verify_rows(job.rows, block, job.block)
        except Damaged as error:
            self._lose_all(job, error)
        else:
            self._write(job, block)
        if handed_back:
            with self._lock:
                self._handed_back -= 1

    def _lose_all(self, job: Job, error: Damaged) -> None:
        for pending in dict.fromkeys(pending for pending, *_ in job.runs):
            self._lose(pending, error)

    def _lose(self, pending: Pending, error: Damaged) -> None:
        if self._lost is None:
            raise error
        pending.lost = True
        self._lost(pending.item, error)

    def _write(self, job: Job, block: memoryview) -> None:
        whole = self._whole
        for pending, offset, start, end in job.runs:
            if whole and pending.is_whole(end - start):
                whole(pending.item, block[start:end])
                continue
            self._into.write(pending.item, offset, block[start:end])
            with self._lock:
                pending.left -= 1
                complete = not pending.left
            if complete:
                self._into.complete(pending.item)

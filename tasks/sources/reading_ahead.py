"""Small files read ahead by a process of its own. Where very many come one after the other, as in a first night, much
of the time goes to opening, reading and closing them, and the threads of Python do one thing at a time.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgpack

from tasks.cores import cores
from tasks.item import Entry, Item
from tasks.sources import small_files
from tasks.sources.extents import SMALLEST
from tasks.sources.file_reader import FileReader
from tasks.sources.open_folders import Descriptor
from tasks.sources.small_files import LENGTH, REGION

_LOOK, _PAYS = 1024, 16
"""So many items at a time are looked at; after so many times of nothing but small files that were all read, a process
is started. It costs what some thousand of them do."""
_NEARLY = 0.9
_MOST = 96
_REGIONS = 3
_PATIENCE = 10.0
_ROOT = Path(__file__).parents[2]


def reading_ahead(items: Iterator[Item], reader: FileReader, top: Descriptor) -> Iterator[Item]:
    """The same items, which are those of the files below `top`. Where that pays, `reader` has the bytes of small files
    by the time it is asked for them."""
    if cores() < 2 or not hasattr(os, "memfd_create"):
        yield from items
        return
    while True:
        yield from _until_it_pays(items, reader)
        first = next(items, None)
        if first is None:
            return
        yield first
        with _Helper(reader.label, top) as helper:
            yield from _ahead(items, reader, helper)


def _until_it_pays(items: Iterator[Item], reader: FileReader) -> Iterator[Item]:
    times = 0
    while times < _PAYS:
        before = reader.small
        first = next(items, None)
        if first is None:
            return
        yield first
        yield from islice(items, _LOOK - 1)
        times = times + 1 if reader.small - before > _NEARLY * _LOOK else 0


def _ahead(items: Iterator[Item], reader: FileReader, helper: _Helper) -> Iterator[Item]:
    """As long as nearly all that is read ahead is asked for."""
    coming: deque[_Batch] = deque()
    pays = True
    try:
        while pays or coming:
            while pays and len(coming) < _REGIONS:
                batch = _Batch(items)
                helper.ask(batch)
                coming.append(batch)
                pays = bool(batch.items)
            batch = coming.popleft()
            reader.ahead = helper.answer(batch)
            count = len(reader.ahead)
            yield from batch.items
            pays = pays and len(reader.ahead) <= (1 - _NEARLY) * count
    finally:
        reader.ahead = {}


class _Batch:
    """The next items, and the files among them that are to be read ahead, to `at` in the memory."""

    def __init__(self, items: Iterator[Item]) -> None:
        self.items: list[Item] = []
        self.files: list[Entry] = []
        self.at = size = 0
        for item in islice(items, _MOST):
            self.items.append(item)
            entry = item.entry
            if item.at_once and entry.size < SMALLEST:
                self.files.append(entry)
                size += entry.size
                if size > REGION - SMALLEST:
                    break


class _Helper:
    """The process. Where it can't be started, or ends before it should, nothing is read ahead."""

    def __init__(self, label: bytes, top: Descriptor) -> None:
        self._label, self._top = label, top
        self._process: subprocess.Popen[bytes] | None = None
        self._memory = memoryview(b"")
        self._asked = 0

    def __enter__(self) -> _Helper:
        with suppress(OSError):
            self._start()
        return self

    def _start(self) -> None:
        memory = os.memfd_create("small files")
        try:
            os.ftruncate(memory, _REGIONS * REGION)
            self._memory = memoryview(mmap.mmap(memory, 0))
            numbers = self._top.number, memory
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", small_files.__name__, *map(str, numbers), os.fsdecode(self._label)],
                pass_fds=numbers,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)])},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        finally:
            os.close(memory)

    def __exit__(self, *_: object) -> None:
        if process := self._process:
            assert process.stdin  # noqa: S101 - it is a pipe
            assert process.stdout  # noqa: S101
            with suppress(OSError):
                process.stdin.close()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()

    def ask(self, batch: _Batch) -> None:
        if not (self._process and self._process.stdin and batch.files):
            return
        batch.at = self._asked % _REGIONS * REGION
        self._asked += 1
        files = [(entry.path, entry.uid, entry.size, entry.version) for entry in batch.files]
        question = msgpack.packb((batch.at, files))
        with suppress(OSError):
            self._process.stdin.write(LENGTH.pack(len(question)) + question)
            self._process.stdin.flush()

    def answer(self, batch: _Batch) -> dict[bytes, memoryview]:
        """What the files hold that were read, by path."""
        if not (self._process and self._process.stdout):
            return {}
        read, at = {}, batch.at
        for entry, good in zip(batch.files, self._process.stdout.read(len(batch.files)), strict=False):
            if good:
                end = at + entry.size
                read[entry.path] = self._memory[at:end]
                at = end
        return read

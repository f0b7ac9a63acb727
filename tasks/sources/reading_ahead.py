"""Small files read ahead by a process of its own. Where very many come one after the other, as in a first night, much
of the time goes to opening, reading and closing them, and the threads of Python do one thing at a time.
"""

from __future__ import annotations

import mmap
import os
import select
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path

import msgpack

from tasks.cores import cores
from tasks.item import Entry, Item
from tasks.listing import Listed, Siblings
from tasks.sources import small_files
from tasks.sources.extents import SMALLEST
from tasks.sources.file_reader import FileReader
from tasks.sources.open_folders import Descriptor
from tasks.sources.small_files import LAST, LENGTH, REGION

_LOOK, _PAYS = 1024, 16
"""So many items at a time are looked at; after so many times of nearly nothing but small files that were read, a
process is started. It costs what some thousand of them do."""
_NEARLY = 0.9
_MOST = 96
_REGIONS = 3
_PATIENCE = 10.0
"""Seconds that the process may take to end."""
_STUCK = 60.0
"""Seconds without an answer, or in which it takes no question, after which it is given up: perhaps it was stopped."""
_ROOT = Path(__file__).parents[2]


def reading_ahead(listed: Iterator[Listed], reader: FileReader, top: Descriptor) -> Iterator[Listed]:
    """The same, which are the items of the files below `top`. Where that pays, `reader` has the bytes of small files by
    the time it is asked for them."""
    if cores() < 2 or not hasattr(os, "memfd_create"):
        yield from listed
        return
    while (yield from _until_it_pays(listed, reader)):
        items = _OneByOne(listed)
        with _Helper(reader.label, top) as helper:
            yield from _ahead(items, reader, helper)
        yield from items.rest()


def _until_it_pays(listed: Iterator[Listed], reader: FileReader) -> Generator[Listed, None, bool]:
    """Returns whether there is more."""
    times, count, before = 0, 0, reader.small
    for some in listed:
        yield some
        count += 1 if isinstance(some, Item) else len(some.paths)
        if count >= _LOOK:
            times = times + 1 if reader.small - before > _NEARLY * count else 0
            if times >= _PAYS:
                return True
            count, before = 0, reader.small
    return False


class _OneByOne:
    """Items to be gone through once, not always to the end: `rest` are then the siblings that come after the last one,
    which can still be compared together."""

    def __init__(self, listed: Iterator[Listed]) -> None:
        self._listed = listed
        self._begun: Siblings | None = None
        self._taken = 0

    def __iter__(self) -> Iterator[Item]:
        for some in self._listed:
            if isinstance(some, Item):
                yield some
                continue
            self._begun = some
            for at in range(len(some.paths)):
                self._taken = at + 1
                yield some.item(at)
            self._begun = None

    def rest(self) -> Iterator[Siblings]:
        if self._begun and self._taken < len(self._begun.paths):
            yield self._begun.after(self._taken)


def _ahead(listed: Iterable[Item], reader: FileReader, helper: _Helper) -> Iterator[Item]:
    """As long as nearly all that is read ahead is asked for."""
    items = iter(listed)
    coming: deque[_Batch] = deque()
    pays = True
    try:
        while pays or coming:
            while pays and len(coming) < _REGIONS and not (coming and coming[-1].is_last):
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
    """The next items, and the files among them that are to be read ahead, to `at` in the memory. `is_last`: the walk
    must not go on before what is in it was taken. What is large may take long, and a file that has more names decides,
    when it is opened, what the next one brings."""

    def __init__(self, items: Iterator[Item]) -> None:
        self.items: list[Item] = []
        self.files: list[Entry] = []
        self.is_last = False
        self.at = size = 0
        for item in islice(items, _MOST):
            self.items.append(item)
            entry = item.entry
            if item.at_once and entry.size < SMALLEST:
                self.files.append(entry)
                size += entry.size
                if size > REGION - SMALLEST:
                    break
            elif item.open:
                self.is_last = True
                break


class _Helper:
    """The process. Where it can't be started, or ends before it should, nothing is read ahead."""

    def __init__(self, label: bytes, top: Descriptor) -> None:
        self._label, self._top = label, top
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: int | None = None
        self._memory = memoryview(b"")
        self._asked = 0

    def __enter__(self) -> _Helper:
        # Not only what the system refuses: programs put anything into `sys.path`.
        with suppress(OSError, TypeError, ValueError):
            self._start()
        return self

    def _start(self) -> None:
        with ExitStack() as given:
            memory = os.memfd_create("small files")
            given.callback(os.close, memory)
            os.ftruncate(memory, _REGIONS * REGION)
            self._memory = memoryview(mmap.mmap(memory, 0))
            self._answers, answers = os.pipe()
            given.callback(os.close, answers)
            numbers = self._top.number, memory, answers
            # Isolated, for what others have set up for every Python may do anything; and with a pipe of its own.
            paths = [*map(str, sys.path), str(_ROOT)]
            begin = f"import sys; sys.path[:] = {paths!r}; from {small_files.__name__} import main; main()"
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", begin, os.fsdecode(self._label), *map(str, numbers)],
                pass_fds=numbers,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
            if self._process.stdin:
                os.set_blocking(self._process.stdin.fileno(), False)

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self, patience: float = _PATIENCE) -> None:
        process, self._process = self._process, None
        if self._answers is not None:
            os.close(self._answers)
            self._answers = None
        if process and process.stdin:
            with suppress(OSError):
                process.stdin.write(LAST)
            with suppress(OSError):
                process.stdin.close()
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ask(self, batch: _Batch) -> None:
        if not (self._process and self._process.stdin and batch.files):
            return
        batch.at = self._asked % _REGIONS * REGION
        self._asked += 1
        files = [(entry.path, entry.uid, entry.size, entry.version) for entry in batch.files]
        question = msgpack.packb((batch.at, files))
        pipe, left = self._process.stdin.fileno(), memoryview(LENGTH.pack(len(question)) + question)
        while left:
            try:
                left = left[os.write(pipe, left) :]
            except BlockingIOError:
                if not _ready(pipe, select.POLLOUT):
                    self._end(0)
                    return
            except OSError:  # it has ended, and gives no answer
                return

    def answer(self, batch: _Batch) -> dict[bytes, memoryview]:
        """What the files hold that were read, by path."""
        if not (self._process and self._answers is not None and batch.files):
            return {}
        # What is so short is written, and read, as a whole.
        count = LENGTH.size + len(batch.files)
        answer = os.read(self._answers, count) if _ready(self._answers, select.POLLIN) else b""
        # With what is no answer to this question it has ended, for us.
        if len(answer) < count or answer[: LENGTH.size] != LENGTH.pack(len(batch.files)):
            self._end(0)
            return {}
        read, at = {}, batch.at
        for entry, good in zip(batch.files, answer[LENGTH.size :], strict=True):
            if good:
                end = at + entry.size
                read[entry.path] = self._memory[at:end]
                at = end
        return read


def _ready(pipe: int, what: int) -> bool:
    """Whether a pipe can be read or written soon, or has no other end any more."""
    waiting = select.poll()
    waiting.register(pipe, what)
    return bool(waiting.poll(_STUCK * 1000))

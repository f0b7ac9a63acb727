"""What is put, as the SDKs take it: a file of known size that can be read again, without a copy of it in memory."""

from __future__ import annotations

import base64
import hashlib
import io
import mmap
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.destinations.destination import Data, Lent
from tasks.destinations.file_errors import explained
from tasks.errors import Missing, Refused, Unavailable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


_HELD_BYTES = 1 << 20
"""Of a file: what was read before that is let go."""


class Body(io.RawIOBase):
    """Bytes that somebody else holds, as a file to be read and rewound. Of a file that is `mapped` no more than a part
    counts as this process's memory at a time, whatever its size and however many are on their way."""

    def __init__(self, view: memoryview, mapped: mmap.mmap | None = None) -> None:
        super().__init__()
        self._view = view
        self._mapped = mapped
        self._at = self._held_from = 0

    def __len__(self) -> int:
        return len(self._view)

    def is_same(self, content: bytes) -> bool:
        at, view = 0, memoryview(content)
        for piece in self._held(_HELD_BYTES):
            if piece != view[at : at + len(piece)]:
                return False
            at += len(piece)
        return at == len(view)

    @cached_property
    def md5(self) -> bytes:
        """What some services check an upload by; no secret depends on it."""
        found = hashlib.md5(usedforsecurity=False)
        for piece in self._held(_HELD_BYTES):
            found.update(piece)
        return found.digest()

    @cached_property
    def crc32c(self) -> str:
        """What others check an upload by; kept beside each object, too, so that whoever reads all of it can tell that
        it is what was sent."""
        return crc32c_of(self._held(_HELD_BYTES))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """All of it, from the first byte on, without a copy, as it is sent."""
        return self._held(size)

    def _held(self, size: int) -> Iterator[memoryview]:
        for at in range(0, len(self), size):
            yield self._part(at, at + size)
            self._let_go(min(at + size, len(self)))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self)}[whence])
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = len(self) if size is None or size < 0 else self._at + size
        piece = bytes(self._part(self._at, end))
        self._at += len(piece)
        self._let_go(self._at)
        return piece

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        piece = self._part(self._at, self._at + len(target))
        target[: len(piece)] = piece
        self._at += len(piece)
        self._let_go(self._at)
        return len(piece)

    def _part(self, start: int, end: int) -> memoryview:
        """As much of that as there is."""
        return self._view[start:end]

    def _let_go(self, until: int) -> None:
        """What was read is not needed, and is in the system's cache if it is read again."""
        if self._mapped is None:
            return
        if until < self._held_from:  # it was rewound
            self._held_from = 0
        if until == len(self) or until - self._held_from >= _HELD_BYTES:
            start = self._held_from - self._held_from % mmap.PAGESIZE
            if start < until:
                self._mapped.madvise(mmap.MADV_DONTNEED, start, until - start)
            self._held_from = until


class _Read(Body):
    """A file, read as it goes."""

    def __init__(self, file: io.FileIO, path: Path) -> None:
        super().__init__(memoryview(b""))
        self._file, self._path = file, path
        self._size = os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self._size

    def _part(self, start: int, end: int) -> memoryview:
        length = max(min(end, self._size) - start, 0)
        with explained("read", self._path):
            piece = os.pread(self._file.fileno(), length, start)
        if len(piece) < length:
            raise Unavailable(f"`{self._path}` was cut short while it was read")
        return memoryview(piece)


class Altered(Body):
    """One whose pieces are not what it holds: sent by these, it arrives otherwise than it was signed."""

    def pieces(self, size: int) -> Iterator[memoryview]:
        return Body(memoryview(bytes(byte ^ 1 for byte in self._view))).pieces(size)


def is_whole(content: bytes, expected: str | None) -> bool:
    """Whether it has the checksum that was kept beside it; so has what something else stored, without any."""
    return expected is None or crc32c(content) == expected


def crc32c(data: bytes | memoryview) -> str:
    """In base64 of four bytes, most significant first, as S3 and Google Cloud Storage write it. Some fifteen times as
    fast as an MD5, and enough against accidents; against an attacker it is the engine that seals each block."""
    return crc32c_of([data])


def crc32c_of(pieces: Iterable[bytes | memoryview]) -> str:
    """That of all of them, joined."""
    value, calculate = 0, _model()
    for piece in pieces:
        value = calculate(piece, value)
    return base64.b64encode(value.to_bytes(4, "big")).decode()


@cache
def _model() -> Callable[[bytes | memoryview, int], int]:
    from anycrc import Model  # type: ignore[import-untyped]

    calculate: Callable[[bytes | memoryview, int], int] = Model("CRC32C").calc
    return calculate


@contextmanager
def body_of(data: Data) -> Iterator[Body]:
    """Raises `Missing` where the file is not there, `Refused` where it is no plain one."""
    if isinstance(data, Lent):
        # Not mapped: a disk that can't read it would end this process, and the spool's files were just made.
        path = data.path
        with _opened(path, os.O_NOFOLLOW) as number, io.FileIO(number, closefd=False) as file:
            yield _Read(file, path)
        return
    if not isinstance(data, Path):
        yield Body(memoryview(data).cast("B"))
        return
    with _opened(data) as number:
        if not os.fstat(number).st_size:
            yield Body(memoryview(b""))
            return
        mapped = mmap.mmap(number, 0, access=mmap.ACCESS_READ)
    # Closed when nothing refers to it any more: an SDK may hold the view a little longer than the call that got it.
    yield Body(memoryview(mapped), mapped)


@contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[int]:
    with explained("read", path):
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)
        except FileNotFoundError as error:
            raise Missing(f"`{path}`, the file that was to be stored, is not there") from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Refused(f"`{path}` is no plain file, so it can't be stored")
        yield file
    finally:
        os.close(file)

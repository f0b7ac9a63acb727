"""Rows of fixed width, stored column by column: a reversible order of a stream's bytes. FORMAT.md, *Columns*.

A vector index keeps links, a vector and a label in each row. A few changed vectors change links in most rows, so that
whatever cuts along the file finds nothing again; apart, the vectors that did not change are found, and each column is
compressed as it likes best.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tasks.content_digest import ContentDigest
from tasks.item import Stream
from tasks.numbers import Bytes, Numbers, numpy
from tasks.repository.chunker import least_length

WINDOW = 2 << 20
"""Greatest number of bytes that are reordered together."""

GREATEST_ROW = 1 << 20
_MOST_COLUMNS = 64
_PIECE = 4 << 10


class Columns(NamedTuple):
    """How a stream is stored: its first `length` bytes, whole rows, in windows of `rows` rows, of which the first
    columns, of `widths` bytes a row, lie one after the other; then the rest of the stream as it is."""

    length: int
    rows: int
    widths: tuple[int, ...]

    @property
    def row(self) -> int:
        return sum(self.widths)

    @classmethod
    def of(cls, parts: tuple[int, ...]) -> Columns:
        """From what `Stored.columns` keeps. Raises `ValueError` where that can't be."""
        length, rows, *widths = parts
        made = cls(length, rows, tuple(widths))
        if not _possible(made.widths) or length < 0 or length % made.row or not 0 < rows * made.row <= WINDOW:
            raise ValueError("columns of an impossible shape")
        return made

    def parts(self) -> tuple[int, ...]:
        return (self.length, self.rows, *self.widths)

    def windows(self) -> Iterator[tuple[int, int]]:
        """Where each window starts and ends, in the stream and as it is stored alike."""
        step = self.rows * self.row
        for start in range(0, self.length, step):
            yield start, min(start + step, self.length)


def wanted(hint: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...]:
    """The widths to store a stream by: as hinted, else as last time; () for neither, and for what is impossible."""
    widths = hint or before[2:]
    return widths if _possible(widths) else ()


def join(stored: memoryview | bytes | bytearray, widths: tuple[int, ...]) -> memoryview:
    """The rows of one window."""
    source = numpy.frombuffer(stored, numpy.uint8)
    rows = numpy.empty((len(source) // sum(widths), sum(widths)), numpy.uint8)
    at = left = 0
    for width in widths:
        rows[:, left : left + width] = source[at : at + len(rows) * width].reshape(-1, width)
        at, left = at + len(rows) * width, left + width
    return rows.reshape(-1).data


def part(window: memoryview, widths: tuple[int, ...], into: memoryview) -> None:
    """The reverse of `join`; `into` is as long as `window`."""
    rows = numpy.frombuffer(window, numpy.uint8).reshape(-1, sum(widths))
    parted: Bytes = numpy.frombuffer(into, numpy.uint8)
    at = left = 0
    for width in widths:
        parted[at : at + len(rows) * width].reshape(-1, width)[:] = rows[:, left : left + width]
        at, left = at + len(rows) * width, left + width


class Piece(NamedTuple):
    """Bytes `start` to `end` of a buffer, of one column, to be cut every `step` bytes."""

    column: int
    start: int
    end: int
    step: int


class Splitter:
    """Reads a stream, window by window, with its columns apart. What does not come back exactly when it is reversed,
    and all that follows it, is given as it is, as column -1."""

    def __init__(self, stream: Stream, widths: tuple[int, ...], expected: int, *, want_digest: bool) -> None:
        """`expected`: about how many bytes will come."""
        self._stream, self._widths, self._row = stream, widths, sum(widths)
        self._rows = WINDOW // self._row
        self._plain = memoryview(bytearray(self._rows * self._row))
        self._hasher = ContentDigest() if want_digest else None
        self._piece = _PIECE
        while self._piece <= least_length(expected):
            self._piece *= 2
        self._split, self._trusted = 0, True
        self.size = 0

    def read(self, into: memoryview) -> list[Piece]:
        """The next window, at the start of `into`, which holds at least `WINDOW` bytes; nothing at the end."""
        filled = 0
        while filled < len(self._plain) and (count := self._stream.readinto(self._plain[filled:])):
            filled += count
        window = self._plain[:filled]
        if self._hasher:
            self._hasher.update(window)
        self.size += filled
        whole = filled // self._row * self._row if self._trusted else 0
        if whole:
            part(window[:whole], self._widths, into[:whole])
            self._trusted = _same(join(into[:whole], self._widths), window[:whole])
            whole = whole if self._trusted else 0
        # Windows are of one size, so a short one is the last.
        self._trusted = self._trusted and filled == len(self._plain)
        self._split += whole
        into[whole:filled] = window[whole:]
        return [*self._pieces(whole), *([Piece(-1, whole, filled, 16 * self._piece)] if filled > whole else [])]

    def _pieces(self, whole: int) -> Iterator[Piece]:
        start, rows = 0, whole // self._row
        for column, width in enumerate(self._widths if rows else ()):
            end = start + rows * width
            yield Piece(column, start, end, max(1, self._piece // width) * width)
            start = end

    def columns(self) -> tuple[int, ...]:
        """How it was stored, once all is read: what `Stored.columns` keeps."""
        return Columns(self._split, self._rows, self._widths).parts() if self._split else ()

    def digest(self) -> bytes:
        return self._hasher.digest() if self._hasher else b""


def _possible(widths: tuple[int, ...]) -> bool:
    return 1 < len(widths) <= _MOST_COLUMNS and min(widths) > 0 and sum(widths) <= GREATEST_ROW


def _same(one: memoryview, other: memoryview) -> bool:
    first: Numbers = numpy.frombuffer(one, numpy.uint8)
    return bool(numpy.array_equal(first, numpy.frombuffer(other, numpy.uint8)))

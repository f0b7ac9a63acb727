"""Floats among other bytes: found, taken out, and put back. FORMAT.md, *Floats apart*.

Such are the embeddings between the texts of a vector store. Compressed together, the noise in the floats keeps zstd
from what it is good at, and costs it much of its time. They are found by what they are, whatever keeps them (SQLite, a
dump, the pages of any other store): numbers of one scale, four bytes each, share the byte of sign and exponent but for
its first bit. What is taken for floats and is none costs space, never a byte.

Nothing here goes run by run: a thousand of them in each block would keep all other threads waiting.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import NamedTuple

from tasks.numbers import Bytes, Numbers, numpy

WINDOW = 16
"""Bytes that are taken out or left as a whole."""
WIDTH = 4
"""Bytes of a float."""

_LOOK = 64  # bytes in which floats are looked for,
_ENOUGH = 13  # and how many of their 16 numbers must look like some;
_ENOUGH_BESIDE = 3  # of the 4 in a window next to these, so many
_LEAST, _GREATEST = 0x38, 0x40  # a float32's sign and exponent, without the sign, from 2^-15 until below 2^3
_STEPS = _LOOK // WINDOW
_COUNT = struct.Struct("<I")
_ROW = 9  # bytes of the table that a run takes
_KEPT = 3 << 16  # windows of the largest block for which numbers are kept


class Runs(NamedTuple):
    """Where floats lie: of each run, in order, its first window, how many it has, and which of each four bytes in them
    is a float's byte of sign and exponent."""

    starts: Numbers
    lengths: Numbers
    lanes: Numbers

    @property
    def size(self) -> int:
        """In bytes."""
        return int(self.lengths.sum()) * WINDOW


def find(data: memoryview | bytes) -> Runs:
    """Runs of floats of 32 bits at any offset, of either order of bytes; each has at least four windows."""
    likely = _likely(data)
    # Eight bytes are added at once: no count of at most 16 overflows its byte.
    pairs = likely.view("<u8")
    pairs = pairs[::2] + pairs[1::2]
    in_windows = (pairs + (pairs >> numpy.uint64(32))).astype("<u4").view(numpy.uint8)
    for _ in range(2):
        pairs = pairs[::2] + pairs[1::2]
    counts = (pairs + (pairs >> numpy.uint64(32))).astype("<u4").view(numpy.uint8)
    hits = numpy.flatnonzero(counts >= _ENOUGH)
    looks, lanes = hits // WIDTH, hits % WIDTH
    # Floats of half the width look like some in two ways.
    first = numpy.diff(looks, prepend=-1) > 0
    looks, lanes = looks[first], lanes[first]
    begins = numpy.flatnonzero((numpy.diff(looks, prepend=-2) > 1) | (numpy.diff(lanes, prepend=-1) != 0))
    ends = numpy.append(begins[1:], len(looks))[: len(begins)] - 1
    return _extended(looks[begins] * _STEPS, (looks[ends] + 1) * _STEPS, lanes[begins], in_windows >= _ENOUGH_BESIDE)


def _likely(data: memoryview | bytes) -> Bytes:
    """1 for each byte that could be a float's sign and exponent, 0 for the others; as far as there are whole looks."""
    # Twice the byte is the byte without its first bit; addition is what processors do with 32 bytes at once.
    bits = numpy.frombuffer(data, numpy.uint8, len(data) // _LOOK * _LOOK)
    bits = numpy.add(bits, bits)
    numpy.subtract(bits, numpy.uint8(2 * _LEAST), out=bits)
    likely: Bytes = (bits <= numpy.uint8(2 * (_GREATEST - _LEAST))).view(numpy.uint8)
    return likely


def _extended(starts: Numbers, ends: Numbers, lanes: Numbers, likely: Numbers) -> Runs:
    """Each run with the likely windows right before and behind it: they are looked through again, each on its own."""
    steps = numpy.arange(1, _STEPS)
    room = starts - numpy.append(0, ends)[: len(starts)]
    starts = starts - numpy.minimum(_leading(likely, starts[:, None] - steps, lanes), room)
    room = numpy.append(starts[1:], len(likely) // WIDTH)[: len(starts)] - ends
    ends = ends + numpy.minimum(_leading(likely, ends[:, None] + steps - 1, lanes), room)
    return Runs(starts, ends - starts, lanes)


def _leading(likely: Numbers, windows: Numbers, lanes: Numbers) -> Numbers:
    """How many of the windows in each row are likely ones, up to the first that is not."""
    places = windows * WIDTH + lanes[:, None]
    good = likely[places.clip(0, len(likely) - 1)]
    count: Numbers = numpy.logical_and.accumulate(good, axis=1).sum(axis=1)
    return count


def apart(data: memoryview | bytes, runs: Runs) -> tuple[bytes, list[Bytes]]:
    """What is not in `runs`, behind a table of them; and the floats of each lane that there is, in order."""
    order = _Order(runs, len(data) // WINDOW)
    parts = order.apart(numpy.frombuffer(data, numpy.uint8))
    *floats, others = numpy.split(parts, numpy.cumsum(sizes(runs), dtype=int))
    gaps = order.lengths[:-1:2].astype("<u4")
    table = gaps.data, runs.lengths.astype("<u4").data, runs.lanes.astype("u1").data
    return b"".join((_COUNT.pack(len(gaps)), *table, others.data)), floats


def greatest_rest(size: int) -> int:
    """How long what `apart` gives first of so many bytes can be, at most."""
    return _COUNT.size + size // _LOOK * _ROW + size


def parsed(rest: Bytes) -> tuple[Runs, Bytes]:
    """The runs in the table that `rest` begins with, and the bytes behind it, where they lie. Raises `ValueError`."""
    if len(rest) < _COUNT.size:
        raise ValueError("a block cut short")
    (count,) = _COUNT.unpack_from(rest.data)
    start, end = _COUNT.size, _COUNT.size + _ROW * count
    if len(rest) < end:
        raise ValueError("a block cut short")
    table = numpy.frombuffer(rest, "<u4", 2 * count, start).reshape(2, count)
    lanes = numpy.frombuffer(rest, numpy.uint8, count, end - count)
    # A table of millions of runs that are shorter would take many times what is listed.
    if lanes.max(initial=0) >= WIDTH or table[1].min(initial=_STEPS) < _STEPS:
        raise ValueError("a block whose floats do not lie in it")
    gaps, lengths = table.astype(numpy.int64)
    return Runs(numpy.cumsum(gaps + lengths) - lengths, lengths, lanes.copy()), rest[end:]


def sizes(runs: Runs) -> list[int]:
    """How many bytes of floats each lane has that there is."""
    sizes = numpy.bincount(runs.lanes, runs.lengths, WIDTH).astype(int) * WINDOW
    return [size for size in sizes.tolist() if size]


def together(runs: Runs, parts: Bytes) -> memoryview:
    """The bytes that `apart` took apart: `parts` are the floats, lane by lane, and behind them what was left. Raises
    `ValueError` where they are not that."""
    return _Order(runs, len(parts) // WINDOW).together(parts).data


class _Order:
    """The order of windows as they lie, and with the runs of each lane before all others. In stretches: what lies
    before the first run, that run, what lies between it and the next one, and so on."""

    def __init__(self, runs: Runs, windows: int) -> None:
        """Raises `ValueError` where the runs do not lie in so many windows."""
        self._starts = numpy.append(0, numpy.stack((runs.starts, runs.starts + runs.lengths), axis=1))
        self.lengths = numpy.diff(self._starts, append=windows)
        """Of each stretch, in windows."""
        if self.lengths[-1] < 0:
            raise ValueError("a block whose floats do not lie in it")
        lanes = numpy.full(len(self.lengths), WIDTH, numpy.uint8)
        lanes[1::2] = runs.lanes
        self._order = numpy.argsort(lanes, kind="stable")

    def apart(self, data: Bytes) -> Bytes:
        return _moved(data, self.lengths[self._order], self._starts[self._order])

    def together(self, data: Bytes) -> Bytes:
        lengths, starts = self.lengths[self._order], numpy.empty_like(self.lengths)
        starts[self._order] = numpy.cumsum(lengths) - lengths
        return _moved(data, self.lengths, starts)


def _moved(data: Bytes, lengths: Numbers, starts: Numbers) -> Bytes:
    """The stretches of windows that start there, one behind the other, and what is left over behind all windows."""
    windows = _windows(data)
    sources = numpy.repeat(starts - (numpy.cumsum(lengths) - lengths), lengths)
    sources += _numbers(len(windows))
    moved = numpy.empty_like(data)
    windows.take(sources, out=_windows(moved), mode="clip")
    moved[len(windows) * WINDOW :] = data[len(windows) * WINDOW :]
    return moved


def _numbers(count: int) -> Numbers:
    """From 0 on. To make them takes as long as moving half a block."""
    return _first_numbers()[:count] if count <= _KEPT else numpy.arange(count)


@cache
def _first_numbers() -> Numbers:
    return numpy.arange(_KEPT)


def _windows(data: Bytes) -> Numbers:
    """Whole windows, each as one value."""
    windows: Numbers = data[: len(data) // WINDOW * WINDOW].view(f"V{WINDOW}")
    return windows

"""Stretches of bytes of one kind each, stored one after the other: as they are, or as a zstd frame where that is less.
FORMAT.md, *Stretches*.

Most planes of floats are noise. zstd would look through all of it, and copy it, when compressing and again when
reading; a few spots of it tell as much.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tasks.numbers import Bytes, numpy
from tasks.repository.zstd import compressor, decompress

_ENTRY = 4
_SPOTS, _SPOT, _APART = 16, 512, 7


def table(count: int) -> int:
    """Bytes of the table that precedes so many stretches."""
    return count * _ENTRY


def pack(space: Bytes, start: int, lengths: Sequence[int]) -> int:
    """Shrink what lies in `space` from `start` on: room for the table, then stretches of these lengths. In place;
    where it ends then."""
    stored = []
    begin = at = start + table(len(lengths))
    for length in lengths:
        stretch = space[begin : begin + length]
        begin += length
        if not is_noise(stretch.data) and len(frame := compressor("planes").compress(stretch.data)) < length:
            stretch = numpy.frombuffer(frame, numpy.uint8)
        elif at + length == begin:
            at = begin
            stored.append(length)
            continue
        space[at : at + len(stretch)] = stretch
        at += len(stretch)
        stored.append(len(stretch))
    space[start : start + table(len(lengths))] = numpy.array(stored, "<u4").view(numpy.uint8)
    return at


def unpack(data: memoryview, lengths: Sequence[int]) -> tuple[list[Bytes], memoryview]:
    """The stretches of these lengths that `data` begins with, and what follows them. Raises `ValueError`."""
    at = table(len(lengths))
    if len(data) < at:
        raise ValueError("a block cut short")
    found = list[Bytes]()
    for length, stored in zip(lengths, struct.unpack_from(f"<{len(lengths)}I", data), strict=True):
        part = data[at : at + stored]
        at += stored
        if stored > length or len(part) != stored:
            raise ValueError("a block of another size than listed")
        stretch = numpy.frombuffer(part if stored == length else decompress(part, length), numpy.uint8)
        if len(stretch) != length:
            raise ValueError("a block of another size than listed")
        found.append(stretch)
    return found, data[at:]


def is_noise(stretch: memoryview, *, gain: float = 0) -> bool:
    """Whether no more than a share `gain` could be saved of some spots of it: one in each sixteenth, each at another
    place in it, for what comes in rows would be met at the same place of a row again and again."""
    if len(stretch) < 2 * _SPOTS * _SPOT:
        return False
    step = len(stretch) // _SPOTS
    starts = [at * step + at * _APART % _SPOTS * (step - _SPOT) // (_SPOTS - 1) for at in range(_SPOTS)]
    spots = b"".join([stretch[start : start + _SPOT] for start in starts])
    return len(compressor("planes").compress(spots)) >= (1 - gain) * len(spots)

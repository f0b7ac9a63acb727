"""Numbers near an earlier one, stored as by how much they differ from it. FORMAT.md, *Deltas*.

Such are sound, the pixels of a picture, counters, times and sorted numbers: as they lie, little of them comes again.
This is the delta filter of xz, and *Sub* of PNG, for whole numbers of a width instead of bytes; a small difference of
either sign is a small number, as in Protocol Buffers ("zigzag"), so that its upper bytes are 0.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from tasks.numbers import Bytes, Numbers, numpy

_HEADER = struct.Struct("<BBB")
_SPOT = 1 << 10
_DISTANCES = {1: (1, 2, 3, 4), 2: (1, 2), 4: (1, 2), 8: (1,)}
"""By width, those that are looked for: the channels of sound, of a pixel, and what is a table of pairs."""
WIDTHS = tuple(_DISTANCES)


class Deltas(NamedTuple):
    """From byte `phase` on lie numbers of `width` bytes, each near that `distance` numbers before it."""

    width: int
    distance: int
    phase: int

    @classmethod
    def parsed(cls, data: memoryview) -> tuple[Deltas, memoryview]:
        """What `header` gave, and what follows it. Raises `ValueError`."""
        if len(data) < _HEADER.size:
            raise ValueError("a block cut short")
        found = cls(*_HEADER.unpack_from(data))
        if found.width not in _DISTANCES or not found.distance or found.phase >= found.width:
            raise ValueError("a block of impossible numbers")
        return found, data[_HEADER.size :]

    def header(self) -> bytes:
        return _HEADER.pack(*self)

    def count(self, size: int) -> int:
        """How many numbers lie in so many bytes."""
        return max(0, size - self.phase) // self.width


def find(spots: Sequence[memoryview], widths: Sequence[int]) -> tuple[Deltas, float]:
    """Those that take the fewest bits in the first bytes of each spot, and about which share of the bytes these are.
    All spots begin at the same byte of a number. Only `widths` are looked at."""
    # Where one spot ends and the next begins one difference is wrong, of hundreds.
    some = b"".join([spot[:_SPOT] for spot in spots])
    tried = [
        Deltas(width, distance, phase) for width in widths for distance in _DISTANCES[width] for phase in range(width)
    ]
    shares = [_share(some, each) for each in tried]
    best = min(range(len(tried)), key=shares.__getitem__)
    return tried[best], shares[best]


def _share(data: bytes, deltas: Deltas) -> float:
    found = part(numpy.frombuffer(data, numpy.uint8), deltas)
    if not len(found):
        return 1.0
    bits = float(numpy.log2(found + numpy.float32(1)).sum()) + len(found)
    return bits / (8 * deltas.width * len(found))


def part(data: Bytes, deltas: Deltas) -> Numbers:
    """The differences, the first ones from 0, of the numbers that lie in these bytes."""
    end = deltas.phase + deltas.count(len(data)) * deltas.width
    numbers: Any = data[deltas.phase : end].view(f"<u{deltas.width}")
    found = numbers.copy()
    found[deltas.distance :] -= numbers[: -deltas.distance]
    signed = found.view(f"<i{deltas.width}")
    folded: Numbers = (signed << 1 ^ signed >> 8 * deltas.width - 1).view(numbers.dtype)
    return folded


def join(differences: Bytes, deltas: Deltas) -> None:
    """The reverse of `part`, in place."""
    numbers: Any = differences.view(f"<u{deltas.width}")
    signs = numbers & 1
    numbers >>= 1
    numbers ^= numpy.negative(signs)
    for channel in range(min(deltas.distance, len(numbers))):
        each = numbers[channel :: deltas.distance]
        numpy.add.accumulate(each, out=each, dtype=each.dtype)

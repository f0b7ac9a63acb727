"""Byte planes: of elements of a fixed width, first all first bytes, then all second ones. FORMAT.md, *Chunks, blocks*.

This is the "shuffle" filter of Blosc and HDF5: in floats of one scale the sign-and-exponent bytes repeat, and compress
once they lie together.
"""

from __future__ import annotations

from tasks.numbers import Bytes, numpy


def split(data: memoryview | bytes, width: int) -> list[bytes]:
    """The planes, one by one, without what is left over."""
    usable = len(data) // width * width
    elements = numpy.frombuffer(data, numpy.uint8)[:usable].reshape(-1, width)
    return [elements[:, at].tobytes() for at in range(width)]


def part(data: Bytes, planes: list[Bytes]) -> None:
    """Fill one, two, four or eight planes of one length: with the bytes at even and at odd places, and with each half
    again. The even ones are what is left of 16-bit words that are made 8-bit ones, and the odd ones the same of what
    begins a byte later. NumPy does that with vector instructions: some five times faster than copying every second
    byte."""
    if len(planes) == 1:
        planes[0][:] = data
        return
    if len(planes) == 2:
        numpy.copyto(planes[0], data.view("<u2"), casting="unsafe")
        numpy.copyto(planes[1][:-1], data[1:-1].view("<u2"), casting="unsafe")
        planes[1][-1:] = data[-1:]
        return
    even, odd = numpy.empty(len(data) // 2, numpy.uint8), numpy.empty(len(data) // 2, numpy.uint8)
    part(data, [even, odd])
    part(even, planes[0::2])
    part(odd, planes[1::2])


def join(planes: list[Bytes], data: Bytes) -> None:
    """The reverse of `part`."""
    if len(planes) == 1:
        data[:] = planes[0]
        return
    if len(planes) > 2:
        even, odd = numpy.empty(len(data) // 2, numpy.uint8), numpy.empty(len(data) // 2, numpy.uint8)
        join(planes[0::2], even)
        join(planes[1::2], odd)
        planes = [even, odd]
    words = data.view("<u2")
    data[:1] = 0
    numpy.copyto(data[1:-1].view("<u2"), planes[1][:-1])  # and a 0 behind each
    data[-1:] = planes[1][-1:]
    numpy.bitwise_or(words, planes[0], out=words)

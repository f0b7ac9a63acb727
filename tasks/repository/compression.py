"""How a block's bytes become fewer: raw, zstd, or byte planes then zstd. A sample decides. FORMAT.md, *Chunks, blocks*.

Byte planes are the "shuffle" filter of Blosc and HDF5: in floats of one scale the sign-and-exponent bytes repeat, and
compress once they lie together.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import zstandard

from tasks.repository.numbers import Bytes, numpy

RAW, ZSTD, PLANES_2, PLANES_4, PLANES_8 = range(5)
WIDTH = {PLANES_2: 2, PLANES_4: 4, PLANES_8: 8}

GREATEST_BLOCK = 64 << 20
"""A block's decoded size, at the most, in bytes: bounds what a damaged length can make a reader allocate."""

_SAMPLE, _SPOTS = 16 << 10, 4
_TRY_PLANES, _KEEP_RAW, _STRONG_PAYS, _PLANES_PAY = 0.3, 0.98, 0.985, 0.97
_NEVER_STRONG = 0.55


class Way(NamedTuple):
    """How to compress: a stored method and a zstd strength that readers need not know."""

    method: int
    strength: str


STRONG = Way(ZSTD, "strong")
SMALL = Way(ZSTD, "small")
FAST = Way(ZSTD, "fast")
_RAW = Way(RAW, "fast")

_local = threading.local()
_PARAMETERS: dict[str, tuple[int, dict[str, int]]] = {
    # level, and what differs from it
    "fast": (1, {}),
    # zstd 3 with larger tables: within 0.3 % of what zstd 4 reaches, at 0.9 of its time; they still fit a core's cache.
    "strong": (3, {"hash_log": 18, "chain_log": 17}),
    # For small files together: 13 % less time than "strong" for 0.7 % more bytes, of what shrinks to a quarter anyway.
    "small": (3, {}),
    # Planes hold either almost constant bytes or noise: long matches, a tiny table, and noise is given up at once.
    "planes": (1, {"min_match": 7, "hash_log": 6}),
}


def compressor(strength: str) -> zstandard.ZstdCompressor:
    """This thread's own compressor: they must not be shared."""
    made: dict[str, zstandard.ZstdCompressor] = _local.__dict__
    if strength not in made:
        level, differing = _PARAMETERS[strength]
        parameters = zstandard.ZstdCompressionParameters.from_level(level, **differing)
        made[strength] = zstandard.ZstdCompressor(compression_params=parameters)
    return made[strength]


def _decompressor() -> zstandard.ZstdDecompressor:
    """This thread's own."""
    made: dict[str, zstandard.ZstdDecompressor] = _local.__dict__
    if "decompressor" not in made:
        made["decompressor"] = zstandard.ZstdDecompressor()
    return made["decompressor"]


def choose(data: memoryview) -> Way:
    """The way that a sample of `data` does best with."""
    spots = _sample(data)
    total = sum(map(len, spots))
    if not total:
        return FAST
    fast = sum(len(compressor("fast").compress(spot)) for spot in spots) / total
    best, ratio = FAST, fast
    if fast > _TRY_PLANES:
        for method in (PLANES_2, PLANES_4, PLANES_8):
            if method == PLANES_8 and best.method != PLANES_4:
                break
            # Plane by plane: in a small sample, one frame over all planes shares one Huffman table and hides the gain.
            size = sum(len(compressor("planes").compress(plane)) for spot in spots for plane in _split(spot, method))
            if size / total < ratio * _PLANES_PAY:
                best, ratio = Way(method, "planes"), size / total
    if ratio > _KEEP_RAW:
        return _RAW
    if best is FAST or fast < _NEVER_STRONG:
        strong = sum(len(compressor("strong").compress(spot)) for spot in spots) / total
        if strong < ratio * _STRONG_PAYS:
            return STRONG
    return best


def encode(data: memoryview | bytes, way: Way) -> tuple[int, bytes | memoryview]:
    """The method used, which is RAW where nothing was gained, and the encoded bytes."""
    if way.method == RAW:
        return RAW, data
    source = data if way.method == ZSTD else _to_planes(data, WIDTH[way.method])
    packed = compressor(way.strength).compress(source)
    return (way.method, packed) if len(packed) < len(data) else (RAW, data)


def decode(method: int, data: bytes | memoryview, size: int) -> memoryview:
    """`size` decoded bytes. Raises `ValueError` where the data is not that."""
    if method == RAW:
        decoded = memoryview(data)
    elif method == ZSTD or method in WIDTH:
        if size > GREATEST_BLOCK:
            raise ValueError("a block of impossible size")
        try:
            # A size that the frame claims is allocated before anything is decoded, whatever `max_output_size` says.
            if zstandard.frame_content_size(data) > size:
                raise ValueError("a block of another size than listed")
            plain = _decompressor().decompress(data, max_output_size=size)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error
        decoded = memoryview(plain) if method == ZSTD else _from_planes(plain, WIDTH[method])
    else:
        raise ValueError(f"unknown method {method}")
    if len(decoded) != size:
        raise ValueError("a block of another size than listed")
    return decoded


def _sample(data: memoryview) -> list[memoryview]:
    if len(data) <= _SAMPLE * _SPOTS:
        return [data] if len(data) else []
    # Not at the very start, where files have headers. A multiple of 8, so that every spot starts at the same byte of an
    # element as the block does.
    step = len(data) // _SPOTS & ~7
    first = (step - _SAMPLE) // 2 & ~7
    return [data[first + at * step : first + at * step + _SAMPLE] for at in range(_SPOTS)]


def _split(data: memoryview, method: int) -> list[bytes]:
    width = WIDTH[method]
    usable = len(data) // width * width
    elements = numpy.frombuffer(data, numpy.uint8)[:usable].reshape(-1, width)
    return [elements[:, at].tobytes() for at in range(width)]


def _to_planes(data: memoryview | bytes, width: int) -> memoryview:
    source = numpy.frombuffer(data, dtype=numpy.uint8)
    count = len(source) // width
    body = count * width
    planes = numpy.empty(len(source), dtype=numpy.uint8)
    _part(source[:body], [planes[at * count : (at + 1) * count] for at in range(width)])
    planes[body:] = source[body:]
    return planes.data


def _from_planes(planes: bytes, width: int) -> memoryview:
    source = numpy.frombuffer(planes, dtype=numpy.uint8)
    count = len(source) // width
    body = count * width
    plain = numpy.empty(len(source), dtype=numpy.uint8)
    _join([source[at * count : (at + 1) * count] for at in range(width)], plain[:body])
    plain[body:] = source[body:]
    return plain.data


def _part(data: Bytes, planes: list[Bytes]) -> None:
    """Bytes at even and at odd places, and each half again: as arithmetic on whole 16-bit words, which compilers turn
    into vector instructions, some eight times faster than copying every second byte."""
    words = data.view("<u2")
    if len(planes) == 2:
        numpy.copyto(planes[0], words, casting="unsafe")
        numpy.right_shift(words, 8, out=planes[1], casting="unsafe")
        return
    even, odd = numpy.empty(len(words), numpy.uint8), numpy.empty(len(words), numpy.uint8)
    _part(data, [even, odd])
    _part(even, planes[0::2])
    _part(odd, planes[1::2])


def _join(planes: list[Bytes], data: Bytes) -> None:
    """The reverse of `_part`."""
    if len(planes) > 2:
        even, odd = numpy.empty(len(data) // 2, numpy.uint8), numpy.empty(len(data) // 2, numpy.uint8)
        _join(planes[0::2], even)
        _join(planes[1::2], odd)
        planes = [even, odd]
    words = data.view("<u2")
    numpy.copyto(words, planes[1])
    numpy.left_shift(words, 8, out=words)
    numpy.bitwise_or(words, planes[0], out=words)

"""How a block's bytes become fewer: raw, zstd, byte planes then zstd, or that for the floats among other bytes.

A sample decides. FORMAT.md, *Chunks, blocks*.
"""

from __future__ import annotations

import struct
import threading
from itertools import chain
from typing import NamedTuple

import zstandard

from tasks.errors import NewerFormat
from tasks.repository import floats, planes

RAW, ZSTD, PLANES_2, PLANES_4, PLANES_8, FLOATS = range(6)
WIDTH = {PLANES_2: 2, PLANES_4: 4, PLANES_8: 8}

GREATEST_BLOCK = 64 << 20
"""A block's decoded size, at the most, in bytes: bounds what a damaged length can make a reader allocate."""

_SAMPLE, _SPOTS = 16 << 10, 4
_TRY_PLANES, _KEEP_RAW, _STRONG_PAYS, _PLANES_PAY = 0.3, 0.98, 0.985, 0.97
_NEVER_STRONG = 0.55
_SOME_FLOATS, _ALL_FLOATS = 0.05, 0.9
_BLOCK = zstandard.COMPRESSOBJ_FLUSH_BLOCK
_FIRST = struct.Struct("<I")


class Way(NamedTuple):
    """How to compress: a stored method and a zstd strength that readers need not know."""

    method: int
    strength: str


STRONG = Way(ZSTD, "strong")
FAST = Way(ZSTD, "fast")
_RAW = Way(RAW, "fast")
_FLOATS = Way(FLOATS, "between")

_local = threading.local()
_PARAMETERS: dict[str, tuple[int, dict[str, int]]] = {
    # level, and what differs from it
    "fast": (1, {}),
    # zstd 3, whose table of short matches fits the cache nearest to a core: 10-30 % less time than with tables that
    # reach what zstd 4 does, for 0.2-1.4 % more bytes.
    "strong": (3, {"chain_log": 14}),
    # For what lies between floats, such as the text of a vector store: some 5 % less time for 1 % more of it.
    "between": (3, {"chain_log": 14, "min_match": 6}),
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
        found = [floats.find(spot) for spot in spots]
        share = sum(runs.size for runs in found) / total
        # Where all are floats that lie alike, planes of the whole are the same for less. In files that put tensors
        # wherever they come (ONNX, dlib), each may begin at another place within four bytes.
        if share > _SOME_FLOATS and (share < _ALL_FLOATS or len({*chain(*(runs.lanes for runs in found))}) > 1):
            mixed = sum(map(_size_of_floats, spots, found)) / total
            if mixed < ratio * _PLANES_PAY:
                best, ratio = _FLOATS, mixed
        for method in (PLANES_2, PLANES_4, PLANES_8):
            if method == PLANES_8 and best.method != PLANES_4:
                break
            size = sum(_size_of_planes(spot, WIDTH[method]) for spot in spots) / total
            if size < ratio * _PLANES_PAY:
                best, ratio = Way(method, "planes"), size
    if ratio > _KEEP_RAW:
        return _RAW
    if best is FAST or fast < _NEVER_STRONG:
        strong = sum(len(compressor("strong").compress(spot)) for spot in spots) / total
        if strong < ratio * _STRONG_PAYS:
            return STRONG
    return best


def _size_of_planes(spot: memoryview | bytes, width: int) -> int:
    """Plane by plane: in a small sample, one frame over all planes shares one Huffman table and hides the gain."""
    return sum(len(compressor("planes").compress(plane)) for plane in planes.split(spot, width))


def _size_of_floats(spot: memoryview, runs: floats.Runs) -> int:
    rest, among = floats.apart(spot, runs)
    return sum(len(compressor("planes").compress(each)) for each in among) + len(compressor("between").compress(rest))


def encode(data: memoryview | bytes, way: Way) -> tuple[int, bytes | memoryview]:
    """The method used, which is RAW where nothing was gained, and the encoded bytes."""
    if way.method == RAW:
        return RAW, data
    if way.method == FLOATS:
        packed = _encode_floats(data, floats.find(data), way.strength)
    else:
        source = data if way.method == ZSTD else planes.to_planes(data, WIDTH[way.method])
        packed = compressor(way.strength).compress(source)
    return (way.method, packed) if len(packed) < len(data) else (RAW, data)


def decode(method: int, data: bytes | memoryview, size: int) -> memoryview:
    """`size` decoded bytes. Raises `ValueError` where the data is not that; `NewerFormat`."""
    if size > GREATEST_BLOCK:
        raise ValueError("a block of impossible size")
    if method == RAW:
        decoded = memoryview(data)
    elif method == ZSTD:
        decoded = memoryview(_decompress(data, size))
    elif method in WIDTH:
        decoded = planes.from_planes(_decompress(data, size), WIDTH[method])
    elif method == FLOATS:
        decoded = _decode_floats(memoryview(data), size)
    else:
        # It was sealed together with the block, so it is no damage.
        raise NewerFormat(f"a block is encoded in a way that this version can't read (method {method}): upgrade first")
    if len(decoded) != size:
        raise ValueError("a block of another size than listed")
    return decoded


def _encode_floats(data: memoryview | bytes, runs: floats.Runs, strength: str) -> bytes:
    rest, among = floats.apart(data, runs)
    first = compressor(strength).compress(rest)
    # Each stretch begins a block of the frame, with a table of its own.
    frame = compressor("planes").compressobj(sum(map(len, among)))
    second = [part for each in among for part in (frame.compress(each), frame.flush(_BLOCK))]
    return b"".join((_FIRST.pack(len(first)), first, *second, frame.flush()))


def _decode_floats(data: memoryview, size: int) -> memoryview:
    """Raises `ValueError`."""
    if len(data) < _FIRST.size:
        raise ValueError("a block cut short")
    split = _FIRST.size + _FIRST.unpack_from(data)[0]
    rest = _decompress(data[_FIRST.size : split], floats.greatest_rest(size))
    return floats.together(rest, _decompress(data[split:], size), size)


def _decompress(data: bytes | memoryview, size: int) -> bytes:
    """A frame of at most `size` decoded bytes. Raises `ValueError`."""
    try:
        # A size that the frame claims is allocated before anything is decoded, whatever `max_output_size` says.
        if zstandard.frame_content_size(data) > size:
            raise ValueError("a block of another size than listed")
        return _decompressor().decompress(data, max_output_size=size)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _sample(data: memoryview) -> list[memoryview]:
    if len(data) <= _SAMPLE * _SPOTS:
        return [data] if len(data) else []
    # Not at the very start, where files have headers. A multiple of 8, so that every spot starts at the same byte of an
    # element as the block does.
    step = len(data) // _SPOTS & ~7
    first = (step - _SAMPLE) // 2 & ~7
    return [data[first + at * step : first + at * step + _SAMPLE] for at in range(_SPOTS)]

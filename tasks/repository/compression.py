"""How a block's bytes become fewer: not; by zstd; or by that of byte planes: of all, of its floats, of what its numbers
differ by.

A sample decides. FORMAT.md, *Chunks, blocks*.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from typing import NamedTuple

from tasks.errors import NewerFormat
from tasks.numbers import Bytes, numpy
from tasks.repository import deltas, floats, planes, stretches, words
from tasks.repository.deltas import WIDTHS, Deltas
from tasks.repository.zstd import compressor, decoded_size, decompress, decompress_into

RAW, ZSTD = 0, 1
PLANES_2, PLANES_4, PLANES_8, FLOATS, DELTAS = range(6, 11)
WIDTH = {PLANES_2: 2, PLANES_4: 4, PLANES_8: 8}
_IN_ONE_FRAME = {2: PLANES_2, 3: PLANES_4, 4: PLANES_8, 5: FLOATS}
"""Methods of earlier builds, in which all planes are one frame: read, and not written."""

GREATEST_BLOCK = 64 << 20
"""A block's decoded size, at the most, in bytes: bounds what a damaged length can make a reader allocate."""

_SAMPLE, _SPOTS = 16 << 10, 4
_TRY_PLANES, _KEEP_RAW, _STRONG_PAYS, _PLANES_PAY = 0.3, 0.98, 0.985, 0.97
_NEVER_STRONG, _TRY_DELTAS = 0.55, 0.5
_SOME_FLOATS, _ALL_FLOATS = 0.05, 0.9
_TRIAL, _STRETCH = 512 << 10, 128 << 10
_FIRST = struct.Struct("<I")


class Way(NamedTuple):
    """How to compress: a stored method, and what readers need not know: a zstd strength, and of which widths numbers
    are looked for that are near each other."""

    method: int
    strength: str
    widths: tuple[int, ...] = WIDTHS


STRONG = Way(ZSTD, "strong")
FAST = Way(ZSTD, "fast")
_RAW = Way(RAW, "fast")
_FLOATS = Way(FLOATS, "between")
_WORDS = Way(ZSTD, "words")


def choose(data: memoryview) -> Way:
    """The way that a sample of `data` does best with."""
    spots = _sample(data)
    way = _best_of(data, spots)
    # What comes again further away than a spot is long is not seen in any of them.
    if way.method == RAW:
        others: tuple[Way, ...] = (STRONG,)
    elif way.method != ZSTD and words.repeat(spots):
        others = (STRONG, _WORDS)
    elif way.method == DELTAS:
        others = (STRONG,)
    else:
        return way
    return min((way, *others), key=lambda each: _size_of_trial(data[:_TRIAL], each))


def _best_of(data: memoryview, spots: list[memoryview]) -> Way:
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
    if fast > _TRY_DELTAS:  # no text is that hard to compress
        widths = WIDTHS[WIDTHS.index(2) : WIDTHS.index(WIDTH[best.method]) + 1] if best.method in WIDTH else WIDTHS
        near, bits = deltas.find(spots, widths)
        if bits < ratio * _PLANES_PAY:
            size = sum(len(_encode_deltas(spot, near)) for spot in spots) / total
            if size < ratio * _PLANES_PAY:
                best, ratio = Way(DELTAS, "planes", widths), size
    if ratio > _KEEP_RAW:
        return _RAW
    if best is FAST or fast < _NEVER_STRONG:
        strong = sum(len(compressor("strong").compress(spot)) for spot in spots) / total
        # Words of a text come again further apart than a spot is long: there, little of what is gained is seen.
        if strong < ratio * _STRONG_PAYS or (best is FAST and strong < ratio and _strong_pays(data)):
            return STRONG
    return best


def _strong_pays(data: memoryview) -> bool:
    """The same of one longer stretch."""
    start = max(0, len(data) - _STRETCH) // 2
    fast, strong = (len(compressor(each).compress(data[start : start + _STRETCH])) for each in ("fast", "strong"))
    return strong < fast * _STRONG_PAYS


def _size_of_trial(data: memoryview, way: Way) -> float:
    return len(data) * _KEEP_RAW if way.method == RAW else len(encode(data, way)[1])


def _size_of_planes(spot: memoryview | bytes, width: int) -> int:
    """As they are stored, plane by plane."""
    return sum(len(compressor("planes").compress(plane)) for plane in planes.split(spot, width))


def _size_of_floats(spot: memoryview, runs: floats.Runs) -> int:
    rest, lanes = floats.apart(spot, runs)
    return sum(_size_of_planes(lane.data, floats.WIDTH) for lane in lanes) + len(compressor("between").compress(rest))


def encode(data: memoryview | bytes, way: Way) -> tuple[int, bytes | memoryview]:
    """The method used, which is RAW where nothing was gained, and the encoded bytes."""
    if way.method == RAW:
        return RAW, data
    packed: bytes | memoryview
    if way.method == ZSTD:
        packed = compressor(way.strength).compress(data)
    elif way.method == FLOATS:
        packed = _encode_floats(data, way.strength)
    elif way.method == DELTAS:
        packed = _encode_deltas(data, deltas.find(_sample(memoryview(data)), way.widths)[0])
    else:
        packed = _encode_planes(data, WIDTH[way.method])
    return (way.method, packed) if len(packed) < len(data) else (RAW, data)


def decode(method: int, data: bytes | memoryview, size: int) -> memoryview:
    """`size` decoded bytes. Raises `ValueError` where the data is not that; `NewerFormat`."""
    if size > GREATEST_BLOCK:
        raise ValueError("a block of impossible size")
    one_frame = method in _IN_ONE_FRAME
    kind = _IN_ONE_FRAME.get(method, method)
    if method == RAW:
        decoded = memoryview(data)
    elif method == ZSTD:
        decoded = memoryview(decompress(data, size))
    elif kind in WIDTH:
        decoded = _decode_planes(memoryview(data), WIDTH[kind], size, one_frame=one_frame)
    elif kind == FLOATS:
        decoded = _decode_floats(memoryview(data), size, one_frame=one_frame)
    elif kind == DELTAS:
        decoded = _decode_deltas(memoryview(data), size)
    else:
        # It was sealed together with the block, so it is no damage.
        raise NewerFormat(f"a block is encoded in a way that this version can't read (method {method}): upgrade first")
    if len(decoded) != size:
        raise ValueError("a block of another size than listed")
    return decoded


def _encode_planes(data: memoryview | bytes, width: int) -> memoryview:
    source = numpy.frombuffer(data, numpy.uint8)
    body = len(source) // width * width
    space = numpy.empty(stretches.table(width) + len(source), numpy.uint8)
    end = _pack_planes(space, 0, [source[:body]], width)
    space[end : end + len(source) - body] = source[body:]
    return space[: end + len(source) - body].data


def _decode_planes(data: memoryview, width: int, size: int, *, one_frame: bool) -> memoryview:
    """Raises `ValueError`."""
    lengths = [size // width] * width
    found, rest = _in_one_frame(data, lengths, size) if one_frame else stretches.unpack(data, lengths)
    decoded = numpy.empty(size, numpy.uint8)
    body = sum(lengths)
    planes.join(found, decoded[:body])
    if len(rest) != size - body:
        raise ValueError("a block of another size than listed")
    decoded[body:] = rest
    return decoded.data


def _encode_floats(data: memoryview | bytes, strength: str) -> memoryview:
    rest, lanes = floats.apart(data, floats.find(data))
    first = compressor(strength).compress(rest)
    start = _FIRST.size + len(first)
    room = stretches.table(floats.WIDTH * len(lanes)) + sum(map(len, lanes))
    space = numpy.empty(start + room, numpy.uint8)
    space[:start] = numpy.frombuffer(_FIRST.pack(len(first)) + first, numpy.uint8)
    return space[: _pack_planes(space, start, lanes, floats.WIDTH)].data


def _decode_floats(data: memoryview, size: int, *, one_frame: bool) -> memoryview:
    """Raises `ValueError`."""
    if len(data) < _FIRST.size:
        raise ValueError("a block cut short")
    start = _FIRST.size + _FIRST.unpack_from(data)[0]
    first = data[_FIRST.size : start]
    length = decoded_size(first, floats.greatest_rest(size))
    # What lies between the floats is decoded to where it stays. Its table, before it, is overwritten by the floats.
    space = numpy.empty(max(length, size), numpy.uint8)
    rest, parts = space[len(space) - length :], space[len(space) - size :]
    decompress_into(rest, first)
    runs, others = floats.parsed(rest)
    sizes, width = floats.sizes(runs), floats.WIDTH
    if len(others) + runs.size != size:
        raise ValueError("a block whose floats do not lie in it")
    lengths = [length // width for length in sizes for _ in range(width)]
    if one_frame:
        # There, the first planes of all lanes come first.
        by_plane = [length // width for _ in range(width) for length in sizes]
        found, more = _in_one_frame(data[start:], by_plane, size)
        found = [found[plane * len(sizes) + lane] for lane in range(len(sizes)) for plane in range(width)]
    else:
        found, more = stretches.unpack(data[start:], lengths)
    if len(more):
        raise ValueError("a block whose floats do not lie in it")
    for at, (begin, end) in enumerate(pairwise(accumulate(sizes, initial=0))):
        planes.join(found[at * width : (at + 1) * width], parts[begin:end])
    return floats.together(runs, parts)


def _encode_deltas(data: memoryview | bytes, near: Deltas) -> memoryview:
    source, head = numpy.frombuffer(data, numpy.uint8), near.header()
    differences = deltas.part(source, near).view(numpy.uint8)
    space = numpy.empty(len(head) + stretches.table(near.width) + len(source), numpy.uint8)
    space[: len(head)] = numpy.frombuffer(head, numpy.uint8)
    end = _pack_planes(space, len(head), [differences], near.width)
    beside = source[: near.phase], source[near.phase + len(differences) :]
    for each in beside:
        space[end : end + len(each)] = each
        end += len(each)
    return space[:end].data


def _decode_deltas(data: memoryview, size: int) -> memoryview:
    """Raises `ValueError`."""
    near, data = Deltas.parsed(data)
    count = near.count(size)
    found, beside = stretches.unpack(data, [count] * near.width)
    start, end = near.phase, near.phase + count * near.width
    if len(beside) != size - (end - start):
        raise ValueError("a block of another size than listed")
    decoded, others = numpy.empty(size, numpy.uint8), numpy.frombuffer(beside, numpy.uint8)
    numbers = numpy.empty(end - start, numpy.uint8)
    planes.join(found, numbers)
    deltas.join(numbers, near)
    decoded[:start], decoded[start:end], decoded[end:] = others[:start], numbers, others[start:]
    return decoded.data


def _pack_planes(space: Bytes, start: int, parts: Sequence[Bytes], width: int) -> int:
    """The planes of each part, packed into `space` from `start` on; where they end."""
    begin, lengths = start + stretches.table(width * len(parts)), list[int]()
    for part in parts:
        length = len(part) // width
        planes.part(part, [space[begin + at * length : begin + (at + 1) * length] for at in range(width)])
        begin += len(part)
        lengths += [length] * width
    return stretches.pack(space, start, lengths)


def _in_one_frame(data: memoryview, lengths: Sequence[int], size: int) -> tuple[list[Bytes], memoryview]:
    """The stretches of these lengths that a frame of at most `size` bytes holds, and what follows them in it. Raises
    `ValueError`."""
    plain = numpy.frombuffer(decompress(data, size), numpy.uint8)
    if len(plain) < sum(lengths):
        raise ValueError("a block of another size than listed")
    *found, rest = numpy.split(plain, numpy.cumsum(lengths, dtype=int)) if lengths else [plain]
    return found, rest.data


def _sample(data: memoryview) -> list[memoryview]:
    if len(data) <= _SAMPLE * _SPOTS:
        return [data] if len(data) else []
    # Not at the very start, where files have headers. A multiple of 8, so that every spot starts at the same byte of an
    # element as the block does.
    step = len(data) // _SPOTS & ~7
    first = (step - _SAMPLE) // 2 & ~7
    return [data[first + at * step : first + at * step + _SAMPLE] for at in range(_SPOTS)]

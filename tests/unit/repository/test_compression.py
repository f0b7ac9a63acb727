"""Every block comes back as it was, whatever was chosen; floats shrink, noise is left alone, lies are refused."""

from __future__ import annotations

import random
import struct
import tracemalloc

import numpy
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import NewerFormat
from tasks.repository import floats, zstd
from tasks.repository.compression import (
    DELTAS,
    FAST,
    FLOATS,
    GREATEST_BLOCK,
    PLANES_2,
    PLANES_4,
    PLANES_8,
    RAW,
    STRONG,
    ZSTD,
    Way,
    choose,
    decode,
    encode,
)

WAYS = [
    FAST,
    STRONG,
    Way(RAW, "fast"),
    Way(PLANES_2, "planes"),
    Way(PLANES_4, "planes"),
    Way(PLANES_8, "planes"),
    Way(FLOATS, "between"),
    Way(DELTAS, "fast"),
]
PLANES = {PLANES_2, PLANES_4, PLANES_8}
OLD_PLANES_4, OLD_FLOATS = 3, 5


def weights(dtype: str, count: int = 300_000, scale: float = 0.02) -> bytes:
    return (numpy.random.default_rng(1).standard_normal(count) * scale).astype(dtype).tobytes()


def bfloat16(count: int = 300_000) -> bytes:
    return (numpy.frombuffer(weights("<f4", count), "<u4") >> 16).astype("<u2").tobytes()


TEXT = b"".join(b"2026-11-%02d INFO request %d took %d ms\n" % (at % 28, at, at * 7919 % 997) for at in range(40_000))


def tensors(start: int = 0, gap: int = 0) -> bytes:
    """A model file: one tensor after the other, `gap` bytes between them."""
    data = weights("<f4", 500_000)
    return bytes(start) + b"".join(data[at : at + 25_004] + b"name"[:gap] for at in range(0, len(data), 25_004))


def vector_store(rows: int = 600, dimensions: int = 192) -> bytes:
    """Rows as a database keeps them: a text, a vector at whatever offset comes, a number."""
    chance, words = numpy.random.default_rng(3), random.Random(3)
    vectors = (chance.standard_normal((rows, dimensions)) * 0.07).astype("<f4")
    known = [words.randbytes(3).hex() for _ in range(400)]
    text = [" ".join(words.choices(known, k=150)).encode()[: 900 + at % 97] for at in range(rows)]
    return b"".join(text[at] + vectors[at].tobytes() + at.to_bytes(5, "big") for at in range(rows))


@pytest.mark.parametrize("way", WAYS)
@given(data=st.binary(max_size=300) | st.integers(0, 70_000).map(lambda size: bytes(at % 7 for at in range(size))))
def test_every_method_gives_back_every_length(way: Way, data: bytes) -> None:
    method, encoded = encode(memoryview(data), way)
    assert decode(method, bytes(encoded), len(data)) == data


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 7, 8, 9, 15, 65_537, (2 << 20) - 1, (2 << 20) + 7])
def test_lengths_that_no_width_divides_come_back(way: Way, size: int) -> None:
    data = (weights("<f4", 600_000) * 2)[:size]
    method, encoded = encode(memoryview(data), way)
    assert decode(method, encoded, size) == data
    assert len(encoded) <= size, "encoding never makes a block longer"


@pytest.mark.parametrize(
    ("data", "methods"),
    [
        (weights("<f4"), {PLANES_4, PLANES_2}),
        (weights("<f2"), {PLANES_2}),
        (bfloat16(), {PLANES_2}),
        (random.Random(1).randbytes(1 << 20), {RAW}),
        (TEXT, {ZSTD}),
        (vector_store(), {FLOATS}),
        (tensors(), {PLANES_4}),
        (tensors(start=1), {PLANES_4, PLANES_8}),
        (tensors(gap=3), {FLOATS}),
        (bytes(1 << 20), {ZSTD}),
    ],
    ids=[
        "float32",
        "float16",
        "bfloat16",
        "noise",
        "text",
        "vectors",
        "tensors",
        "tensors askew",
        "tensors anywhere",
        "zeros",
    ],
)
def test_the_way_fits_the_data(data: bytes, methods: set[int]) -> None:
    way = choose(memoryview(data))
    assert way.method in methods
    method, encoded = encode(memoryview(data), way)
    assert method in methods
    assert decode(method, encoded, len(data)) == data
    if methods & {*PLANES, FLOATS}:
        plain = len(zstandard.ZstdCompressor(level=3).compress(data))
        assert len(encoded) < 0.97 * plain, "what is done must pay against what zstd alone makes of it"


def test_float_planes_save_what_the_design_promises() -> None:
    sizes = {}
    for name, data in {"bf16": bfloat16(), "f32": weights("<f4")}.items():
        _, encoded = encode(memoryview(data), choose(memoryview(data)))
        sizes[name] = len(encoded) / len(data)
    assert sizes["bf16"] < 0.75
    assert sizes["f32"] < 0.90


def test_noise_is_stored_as_it_is_even_where_a_way_was_forced_on_it() -> None:
    noise = random.Random(2).randbytes(100_001)
    for way in WAYS:
        method, encoded = encode(memoryview(noise), way)
        assert (method, bytes(encoded)) == (RAW, noise)


@pytest.mark.parametrize("size", [0, 1, 3, 8, 65_536, 65_537])
def test_a_way_is_found_for_any_length(size: int) -> None:
    assert choose(memoryview(bytes(size))).method in {ZSTD, RAW, *PLANES}


@pytest.mark.parametrize("method", [ZSTD, PLANES_2, PLANES_4, PLANES_8, FLOATS, DELTAS])
@pytest.mark.parametrize("off", [-1, 1, 4096, -4096])
def test_a_block_of_another_size_than_listed_is_refused(method: int, off: int) -> None:
    data = vector_store()[:100_000] if method == FLOATS else TEXT[:100_000]
    _, encoded = encode(memoryview(data), Way(method, "planes" if method in PLANES else "fast"))
    with pytest.raises(ValueError, match=r"size|small|large|lie in it"):
        decode(method, bytes(encoded), len(data) + off)


def test_a_raw_block_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="size"):
        decode(RAW, b"1234", 5)


@pytest.mark.parametrize("method", [11, 77, 255])
def test_a_method_of_the_future_is_refused(method: int) -> None:
    with pytest.raises(NewerFormat, match=f"method {method}.*upgrade"):
        decode(method, b"1234", 4)


@pytest.mark.parametrize("method", [ZSTD, PLANES_4, FLOATS, DELTAS])
@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_frame_are_refused(method: int, data: bytes) -> None:
    try:
        decode(method, data, 1000)
    except ValueError:
        return
    raise AssertionError("decoded from nothing")


@pytest.mark.parametrize("claimed", [1000, GREATEST_BLOCK, GREATEST_BLOCK + 1, 1 << 40])
@pytest.mark.parametrize("known", [True, False], ids=["says its size", "hides its size"])
def test_a_frame_that_lies_about_its_size_costs_no_memory(claimed: int, known: bool) -> None:
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=known)
    bomb = compressor.compress(bytes(256 << 20)) if known else _bomb()
    tracemalloc.start()
    first = len(bomb).to_bytes(4, "little") + bomb
    tabled = len(bomb).to_bytes(4, "little") * 4 + bomb * 4
    floats_apart = len(LANE).to_bytes(4, "little") + LANE + tabled
    tried = [(ZSTD, bomb), (PLANES_4, tabled), (DELTAS, bytes((4, 1, 0)) + tabled), (FLOATS, first)]
    tried += [(FLOATS, floats_apart)]
    tried += [(OLD_PLANES_4, bomb), (OLD_FLOATS, first), (OLD_FLOATS, len(LANE).to_bytes(4, "little") + LANE + bomb)]
    for method, encoded in tried:
        with pytest.raises(ValueError):  # noqa: PT011 - that it is refused is all that is promised
            decode(method, encoded, claimed)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * min(claimed, GREATEST_BLOCK) + (32 << 20), (
        f"{peak >> 20} MiB were taken for a block that was refused"
    )


def _bomb() -> bytes:
    making = zstandard.ZstdCompressor(level=1).compressobj()
    zeros = bytes(1 << 20)
    return b"".join([*(making.compress(zeros) for _ in range(256)), making.flush()])


LANE = zstandard.ZstdCompressor().compress(struct.pack("<IIIB", 1, 0, 4, 3))
"""A table of one run of floats, and nothing beside it."""


@pytest.mark.parametrize("way", [way for way in WAYS if way.method in {ZSTD, *PLANES, FLOATS, DELTAS}])
def test_a_block_with_something_behind_it_is_refused(way: Way) -> None:
    data = vector_store(60)
    method, encoded = encode(memoryview(data), way)
    assert decode(method, bytes(encoded), len(data)) == data
    assert method == way.method
    with pytest.raises(ValueError, match=r"size|lie in it|unused data"):
        decode(method, bytes(encoded) + b"!", len(data))


@pytest.mark.parametrize("method", [FLOATS, OLD_FLOATS])
def test_floats_that_would_be_more_than_all_get_no_room(method: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = zstandard.ZstdCompressor().compress(struct.pack("<IIIB", 1, 0, (1 << 32) - 1, 3))
    block = len(rest).to_bytes(4, "little") + rest + bytes(16)
    made = numpy.empty

    def small(size: int, kind: type) -> object:
        assert size <= 1 << 20
        return made(size, kind)

    monkeypatch.setattr(numpy, "empty", small)
    with pytest.raises(ValueError, match="lie in it"):
        decode(method, block, 1 << 20)


@given(data=st.binary(min_size=1, max_size=3000), cut=st.integers(1, 40), off=st.sampled_from([-1, 1]))
def test_a_frame_fills_its_space_or_is_refused(data: bytes, cut: int, off: int) -> None:
    frame = zstandard.ZstdCompressor().compress(data)
    space = numpy.zeros(len(data), numpy.uint8)
    zstd.decompress_into(space, frame)
    assert bytes(space) == data
    others = frame[:-cut], frame + bytes(cut), frame + frame, frame + zstandard.ZstdCompressor().compress(b"!")
    for other, size in [*((other, len(data)) for other in others), (frame, len(data) + off)]:
        with pytest.raises(ValueError):  # noqa: PT011 - that it is refused is all that is promised
            zstd.decompress_into(numpy.zeros(size, numpy.uint8), other)


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 100, -1])
def test_floats_apart_that_are_cut_short_are_refused(cut: int) -> None:
    data = vector_store(60)
    _, encoded = encode(memoryview(data), Way(FLOATS, "between"))
    with pytest.raises(ValueError):  # noqa: PT011 - that it is refused is all that is promised
        decode(FLOATS, bytes(encoded)[:cut], len(data))


def test_a_vector_store_shrinks_more_than_by_any_strength_of_zstd_alone() -> None:
    data = memoryview(vector_store())
    _, encoded = encode(data, choose(data))
    assert len(encoded) < 0.96 * min(len(encode(data, way)[1]) for way in WAYS if way.method != FLOATS)


def in_one_frame(data: bytes, width: int) -> bytes:
    """As earlier builds encoded planes."""
    body = len(data) // width * width
    planes = [data[at:body:width] for at in range(width)]
    return zstandard.ZstdCompressor(level=1).compress(b"".join([*planes, data[body:]]))


@pytest.mark.parametrize(("method", "width"), [(2, 2), (3, 4), (4, 8)])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100_003])
def test_planes_that_an_earlier_build_encoded_are_read(method: int, width: int, size: int) -> None:
    data = weights("<f4")[:size]
    assert decode(method, in_one_frame(data, width), size) == data
    for other in {size - 1, size + 1, size + width} - {-1}:
        with pytest.raises(ValueError, match=r"size|large|small"):
            decode(method, in_one_frame(data, width), other)


@pytest.mark.parametrize("data", [vector_store(), tensors(gap=3), TEXT[:1000]], ids=["vectors", "tensors", "text"])
def test_floats_apart_that_an_earlier_build_encoded_are_read(data: bytes) -> None:
    rest, lanes = floats.apart(data, floats.find(data))
    first = zstandard.ZstdCompressor().compress(rest)
    encoded = len(first).to_bytes(4, "little") + first + in_one_frame(b"".join(map(bytes, lanes)), 4)
    assert decode(OLD_FLOATS, encoded, len(data)) == data
    with pytest.raises(ValueError, match="lie in it"):
        decode(OLD_FLOATS, encoded, len(data) - 1)


def test_compressors_are_not_shared_between_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def made(_: int) -> int:
        return id(zstd.compressor("fast"))

    with ThreadPoolExecutor(4) as pool:
        _, encoded = encode(memoryview(TEXT), FAST)
        results = list(pool.map(lambda _: bytes(encode(memoryview(TEXT), FAST)[1]), range(64)))
    assert set(results) == {bytes(encoded)}

"""Numbers near an earlier one are found wherever they begin, take less, and come back; what lies is refused."""

from __future__ import annotations

import numpy
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tasks.repository import deltas
from tasks.repository.compression import DELTAS, GREATEST_BLOCK, PLANES_2, PLANES_4, Way, choose, decode, encode
from tasks.repository.deltas import WIDTHS, Deltas, find

CHANCE = numpy.random.default_rng(1)
SIZE = 1 << 19


def sound(channels: int) -> bytes:
    """Some tones and a little noise, as 16-bit samples."""
    times = numpy.arange(SIZE // 2 // channels)[:, None] * (1 + numpy.arange(channels) / 1000)
    tones = sum(loud * numpy.sin(times * pitch / 30000) for pitch, loud in ((220, 9000), (440, 6000), (1760, 2000)))
    return (tones + CHANCE.standard_normal(times.shape) * 40).astype("<i2").tobytes()


def pixels(channels: int) -> bytes:
    """A surface that rises and falls, each channel with noise of its own."""
    shape = (SIZE // 512 // channels, 512)
    surface = numpy.cumsum(CHANCE.standard_normal(shape), axis=1) + 128
    colours = surface[:, :, None] + 20 * numpy.arange(channels) + CHANCE.standard_normal((*shape, channels))
    return colours.clip(0, 255).astype("u1").tobytes()


def times() -> bytes:
    return (1_764_000_000_000 + numpy.cumsum(CHANCE.integers(0, 60_000, SIZE // 8))).astype("<i8").tobytes()


def neighbours() -> bytes:
    """The columns of a sparse matrix, sorted in each row."""
    return numpy.sort(CHANCE.integers(0, 1 << 20, (SIZE // 512, 128)), axis=1).astype("<i4").tobytes()


KINDS = {
    "sound": (sound(1), 2, 1),
    "stereo": (sound(2), 2, 2),
    "grey": (pixels(1), 1, 1),
    "red, green, blue": (pixels(3), 1, 3),
    "and transparency": (pixels(4), 1, 4),
    "sparse matrix": (neighbours(), 4, 1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [0, 1, 3])
def test_they_are_found_wherever_they_begin_and_take_much_less_than_otherwise(kind: str, before: int) -> None:
    data, width, distance = KINDS[kind]
    data = data[-before:] + data if before else data
    assert find([memoryview(data)[at : at + 4096] for at in range(0, 1 << 18, 1 << 16)], WIDTHS)[0] == Deltas(
        width, distance, before % width
    )
    way = choose(memoryview(data))
    assert way.method == DELTAS
    method, encoded = encode(memoryview(data), way)
    assert method == DELTAS
    assert decode(method, bytes(encoded), len(data)) == data
    others = [len(encode(memoryview(data), Way(other, "planes"))[1]) for other in (PLANES_2, PLANES_4)]
    assert len(encoded) < 0.9 * min(len(zstandard.ZstdCompressor(level=9).compress(data)), *others)


def test_what_zstd_makes_very_small_is_left_to_it() -> None:
    assert choose(memoryview(bytes(range(256)) * 4096)).method != DELTAS
    assert encode(memoryview(times()), choose(memoryview(times())))[0] in {DELTAS, 1}


@given(
    data=st.binary(max_size=200),
    width=st.sampled_from([1, 2, 4, 8]),
    distance=st.integers(1, 255),
    phase=st.integers(0, 7),
)
def test_all_numbers_come_back(data: bytes, width: int, distance: int, phase: int) -> None:
    near = Deltas(width, distance, phase % width)
    found = deltas.part(numpy.frombuffer(data, numpy.uint8), near)
    assert len(found) == near.count(len(data))
    back = found.copy().view(numpy.uint8)
    deltas.join(back, near)
    assert back.tobytes() == data[near.phase :][: near.count(len(data)) * width]


@given(data=st.binary(max_size=70_000), start=st.integers(0, 2**64 - 1), step=st.integers(-(2**63), 2**63 - 1))
def test_every_block_comes_back(data: bytes, start: int, step: int) -> None:
    steps = numpy.full(3000, step, "<i8").view("<u8").cumsum(dtype="<u8") + numpy.uint64(start)
    for block in (data, steps.tobytes() + data[:9]):
        method, encoded = encode(memoryview(block), choose(memoryview(block))._replace(method=DELTAS))
        assert decode(method, bytes(encoded), len(block)) == block


@pytest.mark.parametrize("header", [(0, 1, 0), (3, 1, 0), (16, 1, 0), (2, 0, 0), (2, 1, 2), (8, 1, 255)])
def test_a_header_of_impossible_numbers_is_refused(header: tuple[int, int, int]) -> None:
    _, encoded = encode(memoryview(sound(1)), choose(memoryview(sound(1))))
    with pytest.raises(ValueError, match="impossible"):
        decode(DELTAS, bytes(header) + bytes(encoded)[3:], SIZE)


@pytest.mark.parametrize("off", [-4096, -2, -1, 1, 2, 4096, GREATEST_BLOCK])
def test_a_block_of_another_size_is_refused(off: int) -> None:
    _, encoded = encode(memoryview(sound(1)), choose(memoryview(sound(1))))
    with pytest.raises(ValueError, match="size"):
        decode(DELTAS, bytes(encoded), SIZE + off)


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 10, 11, 1000, -1])
def test_a_block_that_is_cut_short_is_refused(cut: int) -> None:
    _, encoded = encode(memoryview(sound(1)), choose(memoryview(sound(1))))
    with pytest.raises(ValueError, match=r"size|short"):
        decode(DELTAS, bytes(encoded)[:cut], SIZE)

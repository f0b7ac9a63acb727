"""Stretches come back as they were; noise takes as much as it is; a table that lies is refused."""

from __future__ import annotations

import random
import struct

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.numbers import Bytes
from tasks.repository.stretches import pack, table, unpack
from tasks.repository.zstd import compressor

NOISE = random.Random(5).randbytes(200_000)
FEW = bytes(random.Random(6).choices(b"abcdef", k=200_000))


def packed(stretches: list[bytes], before: bytes = b"") -> bytes:
    space: Bytes = numpy.frombuffer(before + bytes(table(len(stretches))) + b"".join(stretches), numpy.uint8).copy()
    end = pack(space, len(before), list(map(len, stretches)))
    assert space[: len(before)].tobytes() == before
    return space[len(before) : end].tobytes()


def stored(data: bytes, count: int) -> list[int]:
    return list(struct.unpack_from(f"<{count}I", data))


@st.composite
def stretches(draw: st.DrawFn) -> list[bytes]:
    kinds = draw(st.lists(st.tuples(st.booleans(), st.sampled_from([0, 1, 40, 511, 8191, 16_384, 40_001])), max_size=9))
    return [(NOISE if noise else FEW)[at * 7 :][:size] for at, (noise, size) in enumerate(kinds)]


@given(given=stretches(), behind=st.binary(max_size=9))
def test_whatever_is_packed_comes_back(given: list[bytes], behind: bytes) -> None:
    data = packed(given, b"before")
    found, rest = unpack(memoryview(data + behind), list(map(len, given)))
    assert [each.tobytes() for each in found] == given
    assert bytes(rest) == behind
    assert len(data) <= table(len(given)) + sum(map(len, given))


def test_noise_is_stored_as_it_is_and_what_is_none_shrinks() -> None:
    given = [FEW, NOISE, FEW[:1000], NOISE[:1000], bytes(70_000)]
    sizes = stored(packed(given), 5)
    assert sizes[1::2] == [200_000, 1000]
    assert sizes[0] < 80_000
    assert sizes[2] < 500
    assert sizes[4] < 100


@pytest.mark.parametrize("where", range(0, 190_000, 10_000))
def test_what_is_worth_it_between_noise_is_found_wherever_it_lies(where: int) -> None:
    mixed = NOISE[:where] + bytes(30_000) + NOISE[where + 30_000 :]
    assert stored(packed([mixed]), 1)[0] < 185_000


@pytest.mark.parametrize("row", [512, 1000, 1024, 2048, 4096, 65_536])
@pytest.mark.parametrize("used", [0.5, 0.75])
def test_rows_that_are_noise_and_then_zeros_are_no_noise(row: int, used: float) -> None:
    dice, noise = random.Random(7), int(row * used)
    stretch = b"".join(dice.randbytes(noise) + bytes(row - noise) for _ in range(0, 1 << 20, row))[: 1 << 20]
    assert stored(packed([stretch]), 1)[0] < (used + 0.02) * len(stretch)


def test_noise_is_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()

    class Counting:
        def compress(self, data: bytes) -> bytes:
            asked.append(len(data))
            return compressor("planes").compress(data)

    monkeypatch.setattr("tasks.repository.stretches.compressor", lambda strength: Counting())
    packed([NOISE, NOISE[7:]])
    assert sum(asked) <= 0.1 * 400_000


@pytest.mark.parametrize("wrong", [0, 3, 4, 100, -1])
def test_what_is_cut_short_is_refused(wrong: int) -> None:
    data = packed([FEW, NOISE])
    with pytest.raises(ValueError, match=r"short|size|frame"):
        unpack(memoryview(data)[:wrong], [len(FEW), len(NOISE)])


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("off", [-1, 1, 1 << 31])
def test_a_table_or_a_length_that_is_another_is_refused(at: int, off: int) -> None:
    data = packed([FEW, NOISE])
    lengths = [len(FEW), len(NOISE)]
    table_of = stored(data, 2)
    table_of[at] += off
    with pytest.raises(ValueError):  # noqa: PT011 - that it is refused is all that is promised
        unpack(memoryview(struct.pack("<2I", *table_of) + data[8:]), lengths)
    lengths[at] += off
    with pytest.raises(ValueError):  # noqa: PT011 - likewise
        unpack(memoryview(data), lengths)


def test_a_frame_that_is_longer_than_its_stretch_is_refused() -> None:
    frame = compressor("planes").compress(b"abc")
    with pytest.raises(ValueError, match="size"):
        unpack(memoryview(struct.pack("<I", len(frame)) + frame), [3])

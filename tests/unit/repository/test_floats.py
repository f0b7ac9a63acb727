"""Floats among other bytes are found where they lie, come apart and together again; a table that lies is refused."""

from __future__ import annotations

import random
import struct

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.numbers import Bytes
from tasks.repository.floats import WINDOW, Runs, apart, find, greatest_rest, parsed, sizes, together

PROSE = b" ".join(b"%d words of a text, item <%d> = 0x%04x;" % (at, at * 88, at * 7919 % 65_536) for at in range(4000))


def vector(seed: int, dimensions: int = 192, kind: str = "<f4") -> bytes:
    values = numpy.random.default_rng(seed).standard_normal(dimensions) * 0.07
    return values.astype(kind).tobytes()


def covered(runs: Runs, start: int, end: int) -> int:
    """How many bytes of that stretch are in runs."""
    starts, ends = runs.starts * WINDOW, (runs.starts + runs.lengths) * WINDOW
    return int((numpy.minimum(ends, end) - numpy.maximum(starts, start)).clip(0).sum())


def back(data: bytes) -> bytes:
    """What comes of data that is taken apart and put together."""
    rest, lanes = apart(data, find(data))
    assert len(rest) <= greatest_rest(len(data))
    runs, others = table_of(rest)
    assert sizes(runs) == [len(lane) for lane in lanes]
    return bytes(together(runs, numpy.concatenate([*lanes, others])))


def table_of(rest: bytes) -> tuple[Runs, Bytes]:
    return parsed(numpy.frombuffer(rest, numpy.uint8))


@pytest.mark.parametrize("kind", ["<f4", ">f4"])
@pytest.mark.parametrize("shift", [0, 1, 2, 3, 17, 62])
def test_vectors_between_texts_are_found_at_any_offset(kind: str, shift: int) -> None:
    data, places = bytearray(PROSE[:shift]), []
    for at in range(50):
        places.append(len(data))
        data += vector(at, kind=kind)
        data += PROSE[at : at + 300 + at]
    runs = find(bytes(data))
    size = len(vector(0))
    found = [covered(runs, start, start + size) for start in places]
    assert min(found) >= 0.7 * size, "a vector is found but for a number or two of another scale"
    assert sum(found) >= 0.93 * size * len(places)
    assert runs.size - sum(found) <= WINDOW * len(runs.starts), "and hardly anything beside them"
    assert runs.lengths.min() >= 4
    assert (runs.starts[1:] >= (runs.starts + runs.lengths)[:-1]).all()
    places_of_signs = {(start + (3 if kind == "<f4" else 0)) % 4 for start in places}
    assert set(runs.lanes.tolist()) == places_of_signs


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        PROSE,
        "Книги и векторы: ".encode() * 3000,
        bytes(100_000),
        numpy.arange(5000, dtype="<u4").tobytes(),
    ],
    ids=["nothing", "short", "prose", "other letters", "zeros", "numbers"],
)
def test_what_is_no_float_is_not_taken_for_one(data: bytes) -> None:
    assert find(data).size == 0


@st.composite
def mixed(draw: st.DrawFn) -> bytes:
    pieces = draw(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 400), st.sampled_from(["<f4", ">f4", "<f2"]))))
    return b"".join(vector(size, size, kind) + PROSE[size : size + other] for size, other, kind in pieces)


@given(data=mixed() | st.binary(max_size=500))
def test_what_comes_apart_comes_together_again(data: bytes) -> None:
    assert back(data) == data


def test_floats_of_half_the_width_come_back_too() -> None:
    halves = (
        (numpy.frombuffer(vector(1, 500), "<u4") >> 16).astype("<u2").tobytes()
    )  # bfloat16: two signs in four bytes
    data = (PROSE[:333] + halves) * 20 + bytes(random.Random(1).randbytes(1000))
    assert find(data).size > 0.5 * len(data)
    assert back(data) == data


def test_every_lane_holds_floats_whose_sign_and_exponent_lie_alike() -> None:
    data = b"".join(PROSE[at : at + 201] + vector(at) for at in range(40))
    _, lanes = apart(data, find(data))
    assert len(lanes) == 4
    assert sum(map(len, lanes)) == find(data).size
    kinds = [[len(set(lane[place::4].tolist())) for place in range(4)] for lane in lanes]
    assert all(few < 24 for few in (kinds[lane][lane] for lane in range(4))), "signs and exponents have few values"
    assert sum(few < 24 for lane in kinds for few in lane) == 4


def test_a_table_that_says_something_else_is_refused() -> None:
    data = b"".join(PROSE[at : at + 200] + vector(at) for at in range(10))
    rest, _ = apart(data, find(data))
    count = int.from_bytes(rest[:4], "little")
    assert count >= 10
    wrong = {
        "no table": b"",
        "half a table": rest[: 4 + 4 * count],
        "more runs than there are": (1 << 31).to_bytes(4, "little") + rest[4:],
        "fewer runs": bytes(4) + rest[4:],
        "a gap beyond the end": rest[:4] + b"\xff\xff\xff\x7f" + rest[8:],
        "a run beyond the end": rest[: 4 + 4 * count] + b"\xff\xff\xff\x7f" + rest[8 + 4 * count :],
        "no rest": rest[: 4 + 9 * count],
        "a lane that is none": rest[: 4 + 8 * count] + b"\x04" + rest[5 + 8 * count :],
    }
    for what, others in wrong.items():
        try:
            runs, left = table_of(others)
            if runs.size + len(left) == len(data):  # who decodes asks, before anything is moved
                together(runs, numpy.zeros(len(data), numpy.uint8))
        except ValueError:
            continue
        assert runs.size + len(left) != len(data), f"{what} was put together"


@pytest.mark.parametrize("length", [0, 3, 4])
def test_a_run_is_no_shorter_than_four_windows(length: int) -> None:
    rest = struct.pack("<IIIIIBB", 2, 1, 0, 5, length, 3, 3) + bytes(16)
    if length == 4:
        assert table_of(rest)[0].size == 9 * WINDOW
    else:
        with pytest.raises(ValueError, match="lie in it"):
            table_of(rest)


@given(
    table=st.lists(st.tuples(st.integers(0, 9), st.integers(2, 9), st.integers(0, 5)), max_size=5),
    sizes_tried=st.tuples(st.integers(0, 200), st.integers(0, 300)),
    off=st.integers(-1, 1),
)
def test_whatever_a_table_says_is_put_together_or_refused(
    table: list[tuple[int, int, int]], sizes_tried: tuple[int, int], off: int
) -> None:
    rest, size = sizes_tried
    columns = [numpy.array([row[at] for row in table], kind) for at, kind in enumerate(("<u4", "<u4", "u1"))]
    taken = WINDOW * int(columns[1].sum())
    count = max(0, len(table) + off).to_bytes(4, "little")
    joined = b"".join((count, *(column.tobytes() for column in columns), bytes(rest)))
    for wanted in (size, rest, rest + taken):
        try:
            assert len(together(table_of(joined)[0], numpy.zeros(wanted, numpy.uint8))) == wanted
        except ValueError:
            continue

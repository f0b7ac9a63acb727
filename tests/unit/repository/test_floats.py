"""Floats among other bytes are found where they lie, come apart and together again; a table that lies is refused."""

from __future__ import annotations

import random

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.repository.floats import WINDOW, Runs, apart, find, greatest_rest, together

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
    rest, floats = apart(data, find(data))
    assert len(rest) <= greatest_rest(len(data))
    return bytes(together(rest, b"".join(floats), len(data)))


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


def test_every_stretch_holds_one_byte_of_floats_of_one_lane() -> None:
    data = b"".join(PROSE[at : at + 201] + vector(at) for at in range(40))
    _, stretches = apart(data, find(data))
    assert len(stretches) == 16
    assert sum(map(len, stretches)) == find(data).size
    plain = [len(set(bytes(stretch)[:1000])) for stretch in stretches]
    assert sum(kinds < 24 for kinds in plain) == 4, "of each lane the byte of sign and exponent, which has few values"


def test_a_table_that_says_something_else_is_refused() -> None:
    data = b"".join(PROSE[at : at + 200] + vector(at) for at in range(10))
    rest, stretches = apart(data, find(data))
    floats = b"".join(stretches)
    count = int.from_bytes(rest[:4], "little")
    assert count >= 10
    wrong = {
        "no table": (b"", floats),
        "more runs than there are": ((1 << 31).to_bytes(4, "little") + rest[4:], floats),
        "fewer runs": (bytes(4) + rest[4:], floats),
        "a gap beyond the end": (rest[:4] + b"\xff\xff\xff\x7f" + rest[8:], floats),
        "a run beyond the end": (rest[: 4 + 4 * count] + b"\xff\xff\xff\x7f" + rest[8 + 4 * count :], floats),
        "fewer floats": (rest, floats[:-4]),
        "no floats": (rest, b""),
        "no rest": (rest[: 4 + 9 * count], floats),
        "a lane that is none": (rest[: 4 + 8 * count] + b"\x04" + rest[5 + 8 * count :], floats),
    }
    for what, (others, among) in wrong.items():
        try:
            together(others, among, len(data))
        except ValueError:
            continue
        raise AssertionError(f"{what} was put together")


@given(
    table=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 5)), max_size=5),
    sizes=st.tuples(st.integers(0, 200), st.integers(0, 300), st.integers(0, 400)),
    off=st.integers(-1, 1),
)
def test_what_is_put_together_has_its_size_or_is_refused(
    table: list[tuple[int, int, int]], sizes: tuple[int, int, int], off: int
) -> None:
    rest, floats, size = sizes
    columns = [numpy.array([row[at] for row in table], kind) for at, kind in enumerate(("<u4", "<u4", "u1"))]
    apart = WINDOW * int(columns[1].sum())
    count = max(0, len(table) + off).to_bytes(4, "little")
    joined = b"".join((count, *(column.tobytes() for column in columns), bytes(rest)))
    for wanted in (size, rest + floats, rest + apart):
        for among in (floats, apart):
            try:
                assert len(together(joined, bytes(among), wanted)) == wanted
            except ValueError:
                continue

"""Rows come back from their columns whatever their widths, and what does not come back is stored as it is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.item import FILE, Entry
from tasks.repository import columns
from tasks.repository.chunker import MOST_CHUNKS
from tasks.repository.columns import GREATEST_ROW, WINDOW, Columns, Splitter, join, part, wanted
from tests.memory_source import File, MemoryStream

WIDTHS = st.lists(st.integers(1, 300), min_size=2, max_size=6).map(tuple)


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def split(content: bytes, widths: tuple[int, ...], at_most: int = 1 << 62) -> tuple[Splitter, bytes, list[int]]:
    """A stream as it is stored, and the lengths of its pieces."""
    stream = MemoryStream(File(content, at_most=at_most), Entry(b"rows", FILE))
    splitter = Splitter(stream, widths, len(content), want_digest=True)
    room, stored, lengths = memoryview(bytearray(WINDOW)), bytearray(), []
    while pieces := splitter.read(room):
        assert [piece.start for piece in pieces] == [0, *(piece.end for piece in pieces[:-1])], "no gap, no overlap"
        stored += room[: pieces[-1].end]
        lengths += [piece.end - piece.start for piece in pieces]
    return splitter, bytes(stored), lengths


def joined(stored: bytes, parts: tuple[int, ...]) -> bytes:
    if not parts:
        return stored
    shape = Columns.of(parts)
    rows = b"".join(bytes(join(stored[start:end], shape.widths)) for start, end in shape.windows())
    return rows + stored[shape.length :]


@given(widths=WIDTHS, rows=st.integers(1, 200), seed=st.integers(0, 1 << 30))
def test_any_window_of_rows_comes_back(widths: tuple[int, ...], rows: int, seed: int) -> None:
    window = noise(seed, rows * sum(widths))
    parted = memoryview(bytearray(len(window)))
    part(memoryview(window), widths, parted)
    assert bytes(join(parted, widths)) == window


@given(widths=WIDTHS, size=st.integers(0, 100_000), at_most=st.sampled_from([1 << 62, 4096, 997]))
def test_any_stream_comes_back_with_what_is_left_of_a_row(widths: tuple[int, ...], size: int, at_most: int) -> None:
    content = noise(size, size)
    splitter, stored, _ = split(content, widths, at_most)
    assert joined(stored, splitter.columns()) == content
    assert splitter.size == size
    assert sorted(stored) == sorted(content)


@pytest.mark.parametrize("widths", [(132, 1536, 8), (1, 1), (GREATEST_ROW - 1, 1), (7, 65_536, 8)])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_streams_around_a_windows_end_come_back(widths: tuple[int, ...], more: int) -> None:
    window = WINDOW // sum(widths) * sum(widths)
    content = noise(7, 2 * window + more)
    splitter, stored, _ = split(content, widths)
    assert joined(stored, splitter.columns()) == content
    assert Columns.of(splitter.columns()).length == len(content) // sum(widths) * sum(widths)


def test_columns_lie_one_after_the_other() -> None:
    splitter, stored, lengths = split(b"1aaaaX2bbbbY3ccccZ?", (1, 4, 1))
    assert stored == b"123" + b"aaaabbbbcccc" + b"XYZ" + b"?"
    assert lengths == [3, 12, 3, 1]
    assert splitter.columns()[0] == 18


@pytest.mark.parametrize(
    ("expected", "steps"),
    [(-1, [4060, 3000]), ((MOST_CHUNKS << 12) - 1, [4060, 3000]), (MOST_CHUNKS << 14, [32760, 31500])],
)
def test_a_large_stream_is_cut_into_larger_pieces(expected: int, steps: list[int]) -> None:
    stream = MemoryStream(File(noise(1, 700 * 1640), at_most=1 << 62), Entry(b"rows", FILE))
    splitter = Splitter(stream, (140, 1500), expected, want_digest=False)
    assert [piece.step for piece in splitter.read(memoryview(bytearray(WINDOW)))] == steps


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_window_that_does_not_come_back_and_all_behind_it_are_stored_as_they_are(
    bad: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths, content = (4, 1000, 8), noise(3, 3 * WINDOW)
    calls = 0

    def lying(window: memoryview, widths: tuple[int, ...], into: memoryview) -> None:
        nonlocal calls
        part(window, widths, into)
        if calls == bad:
            into[len(into) // 2] ^= 1
        calls += 1

    monkeypatch.setattr(columns, "part", lying)
    splitter, stored, _ = split(content, widths)
    window = WINDOW // 1012 * 1012
    assert (splitter.columns() or (0,))[0] == bad * window
    assert stored[bad * window :] == content[bad * window :]
    assert joined(stored, splitter.columns()) == content


@pytest.mark.parametrize(
    ("hint", "before", "widths"),
    [
        ((4, 8), (), (4, 8)),
        ((), (240, 20, 4, 8), (4, 8)),
        ((5, 8), (240, 20, 4, 8), (5, 8)),
        ((), (), ()),
        ((12,), (), ()),
        ((0, 8), (), ()),
        ((-4, 8), (), ()),
        ((GREATEST_ROW, 1), (), ()),
        ((1,) * 65, (), ()),
    ],
)
def test_what_is_hinted_or_was_before_is_wanted_if_it_is_possible(
    hint: tuple[int, ...], before: tuple[int, ...], widths: tuple[int, ...]
) -> None:
    assert wanted(hint, before) == widths


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (12,),
        (12, 1),
        (12, 1, 12),
        (12, 0, 4, 8),
        (13, 1, 4, 8),
        (-12, 1, 4, 8),
        (12, 1, 0, 12),
        (12, 1 << 40, 4, 8),
    ],
)
def test_an_impossible_shape_is_refused(parts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - that it is refused is all that is promised
        Columns.of(parts)

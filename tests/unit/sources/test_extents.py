"""The map of a sparse file is the same wherever the file is restored."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from tasks.sources.extents import _MOST, _append, _fewer, data_extents


@pytest.mark.parametrize(
    ("runs", "merged"),
    [
        ([(1024, 2048)], [(0, 4096)]),
        ([(0, 1024), (3072, 4096)], [(0, 4096)]),
        ([(0, 4096), (8192, 9000)], [(0, 4096), (8192, 12288)]),
        ([(0, 5000), (8192, 8193)], [(0, 12288)]),
    ],
)
def test_smaller_blocks_than_others_have_are_rounded_out(
    runs: list[tuple[int, int]], merged: list[tuple[int, int]]
) -> None:
    found: list[tuple[int, int]] = []
    for start, end in runs:
        _append(found, start, end)
    assert found == merged


@pytest.mark.parametrize("size", [0, 1, 4096, 100_001])
def test_a_file_without_holes_has_no_map(tmp_path: Path, size: int) -> None:
    with (tmp_path / "file").open("w+b") as file:
        file.write(b"x" * size)
        file.flush()
        assert data_extents(file.fileno(), size) in (None, ())


def test_what_knows_no_holes_has_no_map() -> None:
    reading, writing = os.pipe()
    try:
        assert data_extents(reading, 100_000) is None
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("over", [0, 1, 5000])
def test_of_too_many_holes_the_smallest_count_as_data(over: int) -> None:
    """And no others, however alike they are: an image of six thousand pieces would fill its disk when it comes back."""
    runs, end = list[tuple[int, int]](), 0
    for number in range(_MOST + over):
        start = end + 4096 * (1 + number * 7919 % 20_011)
        runs.append((start, start + 4096))
        end = start + 4096
    holes = sorted(after[0] - before[1] for before, after in pairwise(runs))
    fewer = _fewer(runs)
    assert len(fewer) == _MOST
    assert sorted(after[0] - before[1] for before, after in pairwise(fewer)) == holes[over:]
    assert sum(end - start for start, end in fewer) == 4096 * len(runs) + sum(holes[:over])

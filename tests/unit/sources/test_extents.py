"""The map of a sparse file is the same wherever the file is restored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.sources.extents import _append, data_extents


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
        _append(found, start, end, 4096)
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

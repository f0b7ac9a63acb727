"""Whether the benchmark of Chroma measures what it says, on a small folder."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.chroma_nights import grow, run, table

SIZE = (2500, 64)


def test_a_round_measures_both_ways_and_a_second_night_that_stores_less(tmp_path: Path) -> None:
    store, scratch = tmp_path / "store", tmp_path / "scratch"
    scratch.mkdir()
    grow(store, *SIZE)
    night = run(store, scratch, SIZE, 0)
    assert night.content_bytes > 1_000_000
    assert 0 < night.bytes_ratio < 1
    assert 0 < night.second_ratio < 1
    assert night.first_bytes < night.first_kept < night.second_kept
    assert night.second_kept - night.first_kept > night.second_bytes
    assert night.unchanged_bytes < night.second_bytes
    assert night.unchanged_cpu < night.second_cpu
    assert "bar 0.60" in table([night])
    assert list(scratch.iterdir()) == []

"""The benchmark of transfers runs: a small one, to see that it still can."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.transfers import VERBS, WHO, compare


def test_a_small_benchmark_runs_in_both_directions(tmp_path: Path) -> None:
    packs = tmp_path / "packs"
    packs.mkdir()
    for number in range(3):
        (packs / f"{number}").write_bytes(bytes(100_000))
    found = compare("gcs", packs=packs, threads=2, repeat=1, scratch=tmp_path)
    assert {verb: set(by) for verb, by in found.items()} == {verb: set(WHO) for verb in VERBS}
    assert all(one.seconds > 0 for by in found.values() for one in by.values())

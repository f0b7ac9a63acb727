"""The benchmark of Redis runs: a small one, to see that it still can."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.redis_store import run


@pytest.mark.needs("redis-server", "redis-cli")
def test_a_small_benchmark_runs_and_its_restore_is_exact(tmp_path: Path) -> None:
    lines = run(2000, 3, tmp_path)
    assert any("restore against SET by SET" in line for line in lines)

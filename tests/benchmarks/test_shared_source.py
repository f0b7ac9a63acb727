"""Whether the benchmark of shared sources measures what it says, on a small corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.corpora.corpus import CORPORA
from tests.benchmarks.shared_source import compare, ratio_of, table
from tests.redis_process import redis_process


@pytest.mark.parametrize("seconds", [0, 0.02])
def test_one_and_two_workers_are_measured_and_what_they_stored_is_restored(tmp_path: Path, seconds: float) -> None:
    corpus = CORPORA["models"].base(tmp_path, 0.02, 1)
    with redis_process() as broker:
        found = compare(broker, corpus, tmp_path, rounds=1, part="5MB", seconds=seconds)
    ((one, two),) = found
    # Four of the five files come in two pieces each, and are read once more for their digest.
    assert one.parts == two.parts == 4 * (2 + 1) + 1
    assert 0 < ratio_of(found) < 20
    assert abs(two.stored_bytes / one.stored_bytes - 1) < 0.01
    assert "bar 0.60" in table(found)

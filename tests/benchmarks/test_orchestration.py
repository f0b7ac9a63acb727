"""The benchmark of what Celery costs: a small one, to see that it still can; and the bars that hold on any machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.orchestration import MOST_MEGABYTES, run, table


@pytest.mark.needs("redis-server")
def test_a_night_costs_no_multiple_of_plain_celery_and_little_memory(tmp_path: Path) -> None:
    measured = run(tmp_path, nights=2, everything=False)
    ours, plain = (min(turn.task_ms for turn in turns) for turns in (measured.nights, measured.plain))
    assert plain > 0
    assert ours < 10 * plain, table(measured)
    assert all(0 < turn.work < turn.cpu for turn in measured.nights)
    assert max(measured.megabytes) < MOST_MEGABYTES

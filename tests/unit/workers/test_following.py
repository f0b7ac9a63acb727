"""Waiting for a run's report, on a real Redis."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime

import pytest

from tasks.errors import Unavailable
from tasks.record import Record, Run
from tests.redis_process import redis_process
from workers.cli.following import follow

RUN = Run(
    "20261123T023000Z-0a1b2c3d", "nightly", "2026-11-23", datetime(2026, 11, 23, 2, 30, tzinfo=UTC), ("backup/a",)
)


@pytest.mark.needs("redis-server")
def test_a_run_that_the_broker_has_lost_with_its_data_is_not_waited_for() -> None:
    with redis_process() as server, closing(server.client()) as client, ThreadPoolExecutor(1) as pool:
        record = Record(client)
        record.begin(RUN)
        waiting = pool.submit(follow, record, RUN, True)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=3)
        client.flushall()
        with pytest.raises(Unavailable, match=r"lost its data.*run it again"):
            waiting.result(timeout=30)

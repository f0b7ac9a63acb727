"""Waiting for a run's report, on a real Redis."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tasks.errors import Unavailable
from tasks.record import Record, Run
from tests.redis_process import redis_process
from workers.cli.following import _Notices, follow

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


@pytest.mark.needs("redis-server")
def test_what_nobody_takes_up_is_told_at_its_beginning_and_later(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with redis_process() as server, closing(server.client()) as client:
        record, run, now = Record(client), replace(RUN, steps=("backup/a", "upload/a/here", "verify/a/here")), 0.0
        record.begin(run)
        monkeypatch.setattr(time, "monotonic", lambda: now)
        notices = _Notices(record, run)

        def told_after(seconds: float) -> str:
            nonlocal now
            now += seconds
            notices.update()
            return capsys.readouterr().err

        assert told_after(9) == ""
        assert "nothing has begun yet: is a worker running for each pool?" in told_after(2)
        record.take(run.id, "backup/a", "somebody", 1000)
        assert told_after(100) == ""
        record.settle(run.id, "backup/a", {"state": "done"})
        record.take(run.id, "upload/a/here", "somebody", 1000)
        assert told_after(100) == ""
        record.settle(run.id, "upload/a/here", {"state": "done"})
        assert told_after(59) == ""
        assert told_after(2) == "", "the upload has just ended"
        assert "verify/a/here has not begun: is a worker running for each pool?" in told_after(61)
        record.note(run.id, "verify/a/here", "no worker serves the queue `proof`")
        assert "verify/a/here waits: no worker serves the queue `proof`" in told_after(61)
        assert told_after(1000) == ""

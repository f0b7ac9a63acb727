"""What is left of hours in which a clock was years ahead: leases and signs of life that would last until then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
import redis
from celery import Celery

from tasks.installation import Installation
from tasks.plan import begin
from tasks.record import Record
from tasks.settings import DestinationSettings, Settings, SourceSettings
from tasks.tend import OVERDUE, tend
from tests.redis_process import redis_process

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
AHEAD = NOW + timedelta(days=3650)
SILENCE = timedelta(minutes=8)


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    with (
        redis_process() as server,
        closing(server.client()) as client,
        closing(Celery("idle", broker=server.url, set_as_current=True)) as app,
    ):
        app.conf.task_default_queue = "waiting"
        yield client


@pytest.fixture
def installed(client: redis.Redis) -> Installation:
    """Whose messages stay in the broker: nobody works here."""

    class Idle(Installation):
        @property
        def record(self) -> Record:
            return Record(client)

    sources = {"docs": SourceSettings(kind="docs"), "models": SourceSettings(kind="models")}
    return Idle(Settings(destinations={"here": DestinationSettings(kind="local")}, sources=sources))


def sent(client: redis.Redis) -> list[str]:
    messages = [json.loads(message)["headers"]["task"] for message in client.lrange("waiting", 0, -1)]
    client.delete("waiting")
    return sorted(messages)


def test_a_run_that_was_lost_meanwhile_is_sent_again_and_closed_in_the_end(
    installed: Installation, client: redis.Redis
) -> None:
    run, record = begin(installed, now=AHEAD), installed.record
    record.touch(run.id, AHEAD, step="backup/docs")
    sent(client)
    assert tend(installed, NOW, SILENCE) == {}
    assert tend(installed, NOW + SILENCE, SILENCE) == {run.id: "resumed"}
    assert sent(client) == ["backup.docs", "backup.models"]
    assert tend(installed, NOW + OVERDUE + SILENCE, SILENCE, patience=timedelta()) == {run.id: "closed"}


def test_it_keeps_no_other_run_open(installed: Installation) -> None:
    begin(installed, now=AHEAD)
    other = begin(installed, now=NOW, sources=["docs"])
    tend(installed, NOW, SILENCE)
    assert tend(installed, NOW + OVERDUE + SILENCE, SILENCE, patience=timedelta())[other.id] == "closed"


def test_the_lease_of_who_was_lost_meanwhile_is_free(installed: Installation) -> None:
    run, record = begin(installed, now=NOW), installed.record
    assert record.take(run.id, "backup/docs", "lost", AHEAD.timestamp() - NOW.timestamp()) == 0
    assert record.take(run.id, "backup/docs", "next", 20) == 1
    assert record.take(run.id, "backup/docs", "another", 20) is None
    assert record.holder(run.id, "backup/docs") == "next"


def test_a_sign_of_life_is_dated_by_the_broker_whatever_clock_its_host_has(
    installed: Installation, client: redis.Redis
) -> None:
    """A host without a battery starts in another year: its run was closed while it worked."""
    run, record = begin(installed, now=NOW), installed.record
    with mock.patch.object(client, "time", return_value=(int(NOW.timestamp()) + 60, 500_000)):
        record.touch(run.id)
        record.take(run.id, "backup/docs", "holder", 20)
        dated = NOW + timedelta(seconds=60.5)
        assert record.life(run.id).signs == {"": dated, "docs": dated}


def test_what_is_done_every_so_often_is_done(installed: Installation) -> None:
    """Such as asking which pools are served."""
    record = installed.record
    assert record.is_turn("ask who serves", AHEAD.timestamp() - NOW.timestamp())
    assert record.is_turn("ask who serves", 60)
    assert not record.is_turn("ask who serves", 60)


def test_what_was_first_seen_meanwhile_counts_from_now_on(installed: Installation) -> None:
    """Such as a queue that nobody serves: its steps are closed in the end."""
    record, now = installed.record, NOW.timestamp()
    assert record.first_time("run-1", "unserved", AHEAD.timestamp()) == AHEAD.timestamp()
    assert record.first_time("run-1", "unserved", now) == now
    assert record.first_time("run-1", "unserved", now + 3600) == now

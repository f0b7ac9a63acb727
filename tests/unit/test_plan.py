"""What a plan makes of names and times; the messages it sends are proven by the flows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from celery import Celery

from tasks.errors import NotFound
from tasks.installation import Installation
from tasks.outcome import Outcome
from tasks.plan import DUE, begin, last_due
from tasks.record import Record, Run
from tasks.runs import close, join
from tasks.settings import DestinationSettings, PlanSettings, Settings, SourceSettings
from tasks.tend import tend
from tests.redis_process import RedisProcess, redis_process

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def settings(**plans: PlanSettings) -> Settings:
    sources = {"docs": SourceSettings(kind="docs"), "models": SourceSettings(kind="models", destinations=("here",))}
    places = {"here": DestinationSettings(kind="local"), "offsite": DestinationSettings(kind="local")}
    return Settings(destinations=places, sources=sources, plans=plans)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    with redis_process() as server:
        yield server


@pytest.fixture
def client(server: RedisProcess) -> Iterator[redis.Redis]:
    with closing(server.client()) as client:
        client.flushall()
        yield client


@pytest.fixture
def installed(server: RedisProcess, client: redis.Redis) -> Iterator[Installation]:
    """An installation whose messages stay in the broker: nobody works here."""

    class Idle(Installation):
        @property
        def record(self) -> Record:
            return Record(client)

    with closing(Celery("idle", broker=server.url, set_as_current=True)) as app:
        app.conf.task_default_queue = "waiting"
        nightly = PlanSettings(schedule="30 2 * * *", timezone="Europe/Berlin", sources=("docs",))
        yield Idle(settings(nightly=nightly, by_hand=PlanSettings()))


@pytest.mark.parametrize(
    ("schedule", "zone", "now", "due"),
    [
        ("30 2 * * *", "UTC", "2026-11-23T12:00", "2026-11-23T02:30"),
        ("30 2 * * *", "UTC", "2026-11-23T02:30", "2026-11-23T02:30"),
        ("30 2 * * *", "UTC", "2026-11-23T02:29", "2026-11-22T02:30"),
        ("*/15 * * * *", "UTC", "2026-11-23T12:07", "2026-11-23T12:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-07-01T01:00", "2026-07-01T00:30"),
        ("30 2 * * *", "Asia/Tokyo", "2026-11-23T12:00", "2026-11-22T17:30"),
        ("0 0 29 2 *", "UTC", "2026-11-23T12:00", "2024-02-29T00:00"),
        ("0 4 * * 0", "UTC", "2026-11-23T12:00", "2026-11-22T04:00"),
        # 02:30 does not exist on that day, and comes twice on the next.
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T12:00", "2026-03-29T01:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T12:00", "2026-10-25T00:30"),
    ],
)
def test_when_a_plan_was_last_due(schedule: str, zone: str, now: str, due: str) -> None:
    planned = settings(nightly=PlanSettings(schedule=schedule, timezone=zone))
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert last_due(planned, "nightly", moment) == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_a_plan_without_a_schedule_was_never_due(installed: Installation) -> None:
    assert last_due(installed.settings, "by_hand", NOW) is None
    with pytest.raises(NotFound, match="no schedule"):
        begin(installed, "by_hand", slot=DUE)


def test_a_run_expects_every_step_at_every_destination(installed: Installation) -> None:
    run = begin(installed, now=NOW)
    here = ["backup/docs", "upload/docs/here", "verify/docs/here", "prune/docs/here"]
    offsite = ["upload/docs/offsite", "verify/docs/offsite", "prune/docs/offsite"]
    models = ["backup/models", "upload/models/here", "verify/models/here", "prune/models/here"]
    assert list(run.steps) == here + offsite + models
    assert run.id.startswith("20261123T120000Z-")


def test_a_plan_covers_its_own_sources_and_a_part_of_them_on_request(installed: Installation) -> None:
    assert {step.split("/")[1] for step in begin(installed, "nightly").steps} == {"docs"}
    assert {step.split("/")[1] for step in begin(installed, "by_hand", sources=["models", "models"]).steps} == {
        "models"
    }


def test_unknown_names_are_refused_before_anything_is_recorded_or_sent(
    installed: Installation, client: redis.Redis
) -> None:
    for plan, sources in (("nigthly", []), ("nightly", ["models"]), ("", ["dcos"])):
        with pytest.raises(NotFound, match="known: "):
            begin(installed, plan, sources=sources)
    assert client.keys("*") == []


def test_the_same_due_time_is_sent_once(installed: Installation, client: redis.Redis) -> None:
    first = begin(installed, "nightly", slot=DUE, now=NOW)
    sent = client.llen("waiting")
    assert (first.slot, sent) == ("20261123T0130Z", 1)
    assert begin(installed, "nightly", slot=DUE, now=NOW.replace(minute=5)) == first
    assert client.llen("waiting") == sent


def test_a_start_that_was_killed_before_its_messages_were_sent_sends_them_when_it_comes_again(
    installed: Installation, client: redis.Redis
) -> None:
    first = begin(installed, "nightly", slot="a slot")
    client.delete("waiting")
    client.hdel(f"geometra:run:{first.id}", "sent")
    assert begin(installed, "nightly", slot="a slot") == first
    assert client.llen("waiting") == 1


def settle(record: Record, run: str, *steps: str) -> None:
    for step in steps:
        record.settle(run, step, Outcome("any", run=run).to_json())


def test_the_report_is_sent_when_the_last_step_has_its_outcome(installed: Installation, client: redis.Redis) -> None:
    run, record = begin(installed, "by_hand", sources=["models"]), installed.record
    client.delete("waiting")
    settle(record, run.id, *run.steps[:-1])
    assert not join(record, run.id)
    settle(record, run.id, run.steps[-1])
    assert join(record, run.id)
    assert client.llen("waiting") == 1
    assert not join(record, "no-such-run")


def states(record: Record, run: Run) -> dict[str, Any]:
    outcomes = record.outcomes(run.id)
    return {step: outcomes[step]["state"] for step in run.steps}


def test_closing_lost_steps_fails_the_first_and_skips_those_after_it(
    installed: Installation, client: redis.Redis
) -> None:
    run, record = begin(installed, "by_hand", sources=["models"]), installed.record
    settle(record, run.id, "backup/models")
    close(record, run.id, run.steps, "its worker was lost")
    found = record.outcome(run.id, "upload/models/here")
    assert found
    assert (found["failure"]["message"], found["destination"]) == ("its worker was lost", "here")
    assert list(states(record, run).values()) == ["done", "failed", "skipped", "skipped"]


SILENCE = timedelta(minutes=8)


def test_a_silent_run_gets_the_messages_of_what_is_missing_again_and_each_time_later(
    installed: Installation, client: redis.Redis
) -> None:
    run, record = begin(installed, now=NOW), installed.record
    settle(record, run.id, *(step for step in run.steps if "docs" in step))
    client.delete("waiting")
    sent = []
    for minutes in range(0, 40, 2):
        record.touch(run.id, NOW)
        before = client.llen("waiting")
        tend(installed, NOW + timedelta(minutes=minutes), SILENCE)
        if client.llen("waiting") > before:
            sent.append(minutes)
    assert sent == [8, 16, 32]
    assert client.llen("waiting") == 3  # one for models, none for docs


def test_a_living_run_is_left_alone(installed: Installation, client: redis.Redis) -> None:
    run, record = begin(installed, now=NOW), installed.record
    client.delete("waiting")
    record.touch(run.id, NOW + timedelta(minutes=5), step="backup/docs")
    record.touch(run.id, NOW + timedelta(minutes=5), step="verify/models/here")
    tend(installed, NOW + timedelta(minutes=10), SILENCE)
    assert client.llen("waiting") == 0


def test_a_silent_source_gets_its_messages_again_beside_one_that_lives(
    installed: Installation, client: redis.Redis
) -> None:
    run, record = begin(installed, now=NOW), installed.record
    client.delete("waiting")
    record.touch(run.id, NOW + timedelta(minutes=5), step="backup/docs")
    tend(installed, NOW + timedelta(minutes=10), SILENCE)
    assert sent(client) == ["backup.models"]


def test_a_step_whose_worker_is_gone_is_sent_again_at_once_and_once_for_each_loss(
    installed: Installation, client: redis.Redis
) -> None:
    run, record = begin(installed, now=NOW), installed.record
    settle(record, run.id, "backup/docs")
    client.delete("waiting")
    for token in ("first", "second"):
        assert record.take(run.id, "upload/docs/here", token, 0.05) is not None
        tend(installed, NOW, SILENCE)
        assert sent(client) == []  # somebody is on it
        time.sleep(0.1)
        for _ in range(3):
            tend(installed, NOW, SILENCE)
        assert sent(client) == ["upload"]
        client.delete("waiting")


def sent(client: redis.Redis) -> list[str]:
    return [json.loads(message)["headers"]["task"] for message in client.lrange("waiting", 0, -1)]


def test_a_run_whose_report_was_lost_gets_only_that_again(installed: Installation, client: redis.Redis) -> None:
    run, record = begin(installed, now=NOW), installed.record
    settle(record, run.id, *run.steps)
    client.delete("waiting")
    record.touch(run.id, NOW)
    tend(installed, NOW + SILENCE, SILENCE)
    assert client.llen("waiting") == 1
    record.keep_report(run.id, {})
    tend(installed, NOW + timedelta(hours=50), SILENCE)
    assert client.llen("waiting") == 1


def test_a_run_of_a_source_that_is_no_longer_configured_is_closed(installed: Installation, client: redis.Redis) -> None:
    run, record = begin(installed, now=NOW), installed.record
    del installed.settings.sources["models"]
    record.touch(run.id, NOW)
    tend(installed, NOW + SILENCE, SILENCE)
    assert record.missing(run) == tuple(step for step in run.steps if "docs" in step)
    found = record.outcome(run.id, "backup/models")
    assert found
    assert "there is no source `models`" in found["failure"]["message"]


def test_runs_are_closed_only_when_nothing_at_all_is_alive_and_each_branch_fails_for_itself(
    installed: Installation, client: redis.Redis
) -> None:
    record = installed.record
    silent, living = begin(installed, now=NOW), begin(installed, now=NOW.replace(minute=1))
    settle(record, silent.id, "backup/docs", "upload/docs/here")
    record.touch(silent.id, NOW)
    record.touch(living.id, NOW.replace(hour=17))
    tend(installed, NOW.replace(hour=19), SILENCE)  # it may wait for a worker that is busy with the other
    assert len(record.missing(silent)) > 0
    tend(installed, NOW.replace(hour=23, minute=30), SILENCE)
    assert record.missing(silent) == record.missing(living) == ()
    failed = [step for step, state in states(record, silent).items() if state == "failed"]
    assert failed == ["verify/docs/here", "upload/docs/offsite", "backup/models"]

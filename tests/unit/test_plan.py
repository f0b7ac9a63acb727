"""What a plan makes of names and times; the messages it sends are proven by the flows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from celery import Celery

from tasks.errors import NotFound, NotYet
from tasks.installation import Installation
from tasks.outcome import Outcome
from tasks.plan import begin, begin_due, last_due, last_expected, step_before
from tasks.record import Record, Run
from tasks.runs import close, join
from tasks.settings import DestinationSettings, PlanSettings, Settings, SourceSettings
from tasks.tend import RETURN, tend
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


def test_a_plan_without_a_schedule_was_never_due(installed: Installation) -> None:
    assert last_due(installed.settings, "by_hand", NOW) is None
    with pytest.raises(NotFound, match="no schedule"):
        begin_due(installed, "by_hand")


def test_a_run_expects_every_step_at_every_destination(installed: Installation) -> None:
    run = begin(installed, now=NOW)
    here = ["backup/docs", "upload/docs/here", "verify/docs/here", "prune/docs/here"]
    offsite = ["upload/docs/offsite", "verify/docs/offsite", "prune/docs/offsite"]
    models = ["backup/models", "upload/models/here", "verify/models/here", "prune/models/here"]
    assert list(run.steps) == here + offsite + models
    assert run.id.startswith("20261123T120000Z-")


def test_a_run_drills_where_a_source_says_so_and_that_is_settled_when_it_begins(installed: Installation) -> None:
    plain = begin(installed, sources=["models"], now=NOW)
    drilled = installed.settings.sources["models"].model_copy(update={"drill": timedelta(days=7)})
    installed.settings.sources["models"] = drilled
    run = begin(installed, sources=["models"], now=NOW)
    there = [f"{verb}/models/here" for verb in ("upload", "verify", "drill", "prune")]
    assert list(run.steps) == ["backup/models", *there]
    assert [step_before(step, run) for step in run.steps] == ["", *run.steps[:-1]]
    assert step_before("prune/models/here", plain) == "verify/models/here"


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
    first = begin_due(installed, "nightly", NOW)
    sent = client.llen("waiting")
    assert first
    assert (first.slot, sent) == ("20261123T0130Z", 1)
    assert begin_due(installed, "nightly", NOW.replace(minute=5)) == first
    assert client.llen("waiting") == sent


def test_a_slot_that_beat_s_clock_has_reached_first_is_waited_for_and_begun(installed: Installation) -> None:
    """Else the one before it was begun, once more: and none that night."""
    before = begin_due(installed, "nightly", NOW)
    for ahead in (timedelta(milliseconds=20), timedelta(minutes=10), timedelta(hours=13, minutes=29)):
        now = NOW.replace(day=24, hour=1, minute=30) - ahead
        with pytest.raises(NotYet, match="is due at 2026-11-24 01:30 UTC") as raised:
            begin_due(installed, "nightly", now, meant="20261124T0130Z")
        assert raised.value.seconds == ahead.total_seconds()
    due = NOW.replace(day=24, hour=1, minute=30)
    begun = begin_due(installed, "nightly", due, meant="20261124T0130Z")
    assert begun
    assert begun != before
    assert begun.slot == "20261124T0130Z"
    # One that is behind says what was, or is years ahead: this host's own goes.
    for meant in ("20261123T0130Z", "20361124T0130Z"):
        assert begin_due(installed, "nightly", due, meant=meant) == begun


def test_one_that_is_a_day_ahead_costs_no_night_either(installed: Installation) -> None:
    for day in (24, 25, 26):
        with pytest.raises(NotYet):
            begin_due(installed, "nightly", NOW.replace(day=day, hour=1, minute=31), meant=f"202611{day + 1}T0130Z")
        assert installed.record.runs()[0].slot == f"202611{day}T0130Z"


def test_of_what_is_due_each_hour_a_clock_that_is_further_ahead_costs_nothing(installed: Installation) -> None:
    installed.settings.plans["hourly"] = PlanSettings(schedule="0 * * * *", timezone="UTC", sources=("docs",))
    for hour in range(3, 8):
        meant = f"20261124T{hour + 2:02}00Z"
        for now in (NOW.replace(day=24, hour=hour, minute=30), NOW.replace(day=24, hour=hour + 1)):
            with pytest.raises(NotYet):
                begin_due(installed, "hourly", now, meant=meant)
        assert installed.record.runs()[0].slot == f"20261124T{hour + 1:02}00Z"
    assert begin_due(installed, "hourly", NOW.replace(day=24, hour=8), meant="due")


def began(installation: Installation, plan: str, now: str) -> str | None:
    run = begin_due(installation, plan, datetime.fromisoformat(now).replace(tzinfo=UTC))
    return run.slot if run else None


def test_ten_missed_nights_are_made_up_for_once_and_not_where_the_next_is_near(installed: Installation) -> None:
    assert began(installed, "nightly", "2026-11-13T01:30") == "20261113T0130Z"
    assert began(installed, "nightly", "2026-11-23T14:00") == "20261123T0130Z"
    assert began(installed, "nightly", "2026-11-23T14:02") == "20261123T0130Z"
    assert [run.slot for run in installed.record.runs()] == ["20261123T0130Z", "20261113T0130Z"]
    # The plan is due again within its hour: that run will do.
    assert began(installed, "nightly", "2026-11-25T00:31") is None
    assert began(installed, "nightly", "2026-11-25T00:30") == "20261124T0130Z"
    assert began(installed, "nightly", "2026-11-25T00:31") == "20261124T0130Z"  # it has begun, so it was not missed
    assert began(installed, "nightly", "2026-11-25T01:30") == "20261125T0130Z"


def test_what_is_a_little_late_was_not_missed(installed: Installation) -> None:
    installed.settings.plans["often"] = PlanSettings(schedule="*/30 * * * *", sources=("docs",))
    assert began(installed, "often", "2026-11-23T12:10") == "20261123T1200Z"
    assert began(installed, "often", "2026-11-23T12:41") is None
    jittered = PlanSettings(schedule="*/30 * * * *", sources=("docs",), jitter=timedelta(minutes=15))
    installed.settings.plans["often"] = jittered
    assert began(installed, "often", "2026-11-23T12:55") == "20261123T1230Z"


def test_what_was_missed_is_made_up_for_up_to_when_the_plan_says(installed: Installation) -> None:
    for name, catch_up in (("always", timedelta()), ("never", timedelta(days=2))):
        installed.settings.plans[name] = PlanSettings(
            schedule="30 1 * * *", timezone="UTC", sources=("docs",), catch_up=catch_up
        )
    assert began(installed, "always", "2026-11-24T01:29") == "20261123T0130Z"
    assert began(installed, "never", "2026-11-23T01:41") is None
    assert began(installed, "never", "2026-11-23T01:40") == "20261123T0130Z"


def test_what_is_older_than_the_record_is_not_made_up_for(installed: Installation) -> None:
    installed.settings.plans["yearly"] = PlanSettings(schedule="0 0 1 1 *", timezone="UTC", sources=("docs",))
    assert began(installed, "yearly", "2026-03-31T00:00") == "20260101T0000Z"
    installed.settings.plans["yearly2"] = PlanSettings(schedule="0 0 1 1 *", timezone="UTC", sources=("docs",))
    assert began(installed, "yearly2", "2026-04-02T00:00") is None


def test_a_source_is_expected_once_its_plans_jitter_is_over_and_its_window_has_opened() -> None:
    sources = {"docs": SourceSettings(kind="docs"), "db": SourceSettings(kind="redis", window="04:00-05:00")}
    nightly = PlanSettings(schedule="30 1 * * *", jitter=timedelta(minutes=30))
    planned = Settings(destinations={}, sources=sources, plans={"nightly": nightly})

    def expected(source: str, clock: str) -> str:
        found = last_expected(
            planned, "nightly", source, datetime.fromisoformat(f"2026-11-23T{clock}").replace(tzinfo=UTC)
        )
        return f"{found:%d %H:%M}"

    assert [expected("docs", at) for at in ("01:59", "02:00")] == ["22 01:30", "23 01:30"]
    assert [expected("db", at) for at in ("03:59", "04:00")] == ["22 01:30", "23 01:30"]


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


def test_a_run_is_seen_to_however_many_have_begun_and_ended_since(installed: Installation, client: redis.Redis) -> None:
    """As those that an application asks for, while one source takes all day."""
    run, record = begin(installed, now=NOW, sources=["docs"]), installed.record
    for minute in range(60):
        begun = begin(installed, now=NOW + timedelta(minutes=minute), sources=["models"])
        record.keep_report(begun.id, {"run": begun.id})
    client.delete("waiting")
    assert tend(installed, NOW + timedelta(hours=1), SILENCE) == {run.id: "resumed"}
    assert sent(client) == ["backup.docs"]
    assert tend(installed, NOW + timedelta(hours=8), SILENCE, patience=timedelta()) == {run.id: "closed"}


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
        assert record.take(run.id, "upload/docs/here", token, 60) is not None
        tend(installed, NOW, SILENCE)
        assert sent(client) == []  # somebody is on it
        client.delete(f"geometra:lease:{run.id}:upload/docs/here")  # it has run out
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
    tend(installed, NOW.replace(hour=23, minute=30), SILENCE, patience=timedelta())
    assert record.missing(silent) == record.missing(living) == ()
    failed = [step for step, state in states(record, silent).items() if state == "failed"]
    assert failed == ["verify/docs/here", "upload/docs/offsite", "backup/models"]


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_run_that_no_host_was_there_for_goes_on_where_one_comes_back(
    installed: Installation, client: redis.Redis, *, goes_on: bool
) -> None:
    """As where there was no power for seven hours of a night, or where a clock jumped by so much."""
    run, record, back = begin(installed, now=NOW), installed.record, NOW + timedelta(hours=7)
    record.touch(run.id, NOW, step="backup/docs")
    client.delete("waiting")
    assert tend(installed, back, SILENCE) == {run.id: "resumed"}
    assert client.llen("waiting") == 2
    if goes_on:
        record.touch(run.id, back + timedelta(minutes=1), step="backup/docs")
    assert "closed" not in tend(installed, back + timedelta(minutes=2), SILENCE).values()
    assert (tend(installed, back + RETURN, SILENCE).get(run.id) == "closed") is not goes_on


def test_a_run_that_nobody_was_there_for_all_day_is_closed_at_once(installed: Installation) -> None:
    run = begin(installed, now=NOW)
    assert tend(installed, NOW + timedelta(hours=25), SILENCE) == {run.id: "closed"}

"""A broker that came back without its data: what reports on this host tell of is known again, and not run again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from celery import Celery

from tasks.installation import Installation
from tasks.outcome import Outcome
from tasks.plan import begin_due
from tasks.record import Record
from tasks.report import last_started, recall, report
from tasks.report_files import read_reports
from tasks.runs import state
from tasks.settings import DestinationSettings, PlanSettings, Settings, SourceSettings
from tests.redis_process import redis_process

NOW = datetime(2026, 11, 23, 2, 31, tzinfo=UTC)


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installation]:
    """An installation whose messages stay in the broker: nobody works here."""
    with redis_process() as server, closing(server.client()) as client:

        class Idle(Installation):
            @property
            def record(self) -> Record:
                return Record(client)

        with closing(Celery("idle", broker=server.url, set_as_current=True)) as app:
            app.conf.task_default_queue = "waiting"
            places, sources = {"here": DestinationSettings(kind="local")}, {"docs": SourceSettings(kind="docs")}
            plans = {"nightly": PlanSettings(schedule="30 2 * * *"), "weekly": PlanSettings(schedule="30 2 * * 1")}
            yield Idle(Settings(destinations=places, sources=sources, plans=plans, state=tmp_path))
            client.flushall()


def ended(installed: Installation, plan: str = "nightly", now: datetime = NOW) -> str:
    """The id of a run that came to its end, as a plan was due."""
    run = begin_due(installed, plan, now)
    assert run
    for step in run.steps:
        verb, source, place = (*step.split("/"), "")[:3]
        installed.record.settle(run.id, step, Outcome(verb, source, place, run.id).to_json())
    report(installed, run.id)
    return run.id


def lose_all(installed: Installation) -> None:
    installed.record._redis.flushall()


def test_a_run_whose_report_is_here_is_known_again_and_not_begun_again(installed: Installation) -> None:
    name = ended(installed)
    before, told = installed.record.run(name), state(installed.record, name)
    lose_all(installed)
    again = begin_due(installed, "nightly", NOW + timedelta(hours=3))
    assert again == before
    assert state(installed.record, name) == told
    assert installed.record.has_report(name)
    assert begin_due(installed, "nightly", NOW + timedelta(hours=4)) == before


def test_one_that_had_not_ended_is_begun_again_once(installed: Installation) -> None:
    first = begin_due(installed, "nightly", NOW)
    lose_all(installed)
    second = begin_due(installed, "nightly", NOW + timedelta(hours=3))
    assert first
    assert second
    assert (first.id != second.id, first.slot) == (True, second.slot)
    assert begin_due(installed, "nightly", NOW + timedelta(hours=4)) == second


def test_the_report_of_another_plan_or_of_another_time_or_of_a_run_by_hand_is_not_taken_for_it(
    installed: Installation,
) -> None:
    weekly = ended(installed, "weekly")
    yesterday = ended(installed, now=NOW - timedelta(days=1))
    lose_all(installed)
    assert recall(installed, "nightly", "20261123T0230Z") is None
    (installed.reports / "other.json").write_text('{"plan": "nightly", "slot": "by hand"}')
    (installed.reports / "another.json").write_text('{"a": "file of somebody"}')
    run = begin_due(installed, "nightly", NOW)
    assert run
    assert run.id not in (weekly, yesterday)


def test_when_a_plan_last_began_is_told_by_the_reports(installed: Installation) -> None:
    assert last_started(installed.reports, "nightly") is None
    ended(installed, now=NOW - timedelta(days=1))
    ended(installed, now=NOW)
    ended(installed, "weekly", now=NOW + timedelta(hours=1))
    assert last_started(installed.reports, "nightly") == NOW
    assert last_started(installed.reports, "by-hand") is None


def test_a_report_that_cant_be_written_says_so_in_the_record_and_is_written_when_it_can(
    installed: Installation,
) -> None:
    installed.reports.parent.mkdir(parents=True, exist_ok=True)
    installed.reports.write_text("in the way")
    name = ended(installed)
    told = installed.record.report(name)
    assert told
    assert told["state"] == "done"
    assert str(installed.reports) in told["unwritten"]
    assert read_reports(installed.reports) == []
    installed.reports.unlink()
    report(installed, name)
    (written,) = read_reports(installed.reports)
    assert written | {"unwritten": told["unwritten"]} == told

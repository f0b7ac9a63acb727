"""Plans as beat sees them: due in their own time zone, over clock changes, and after being pickled."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

import pytest
from celery import Celery

from tasks.settings import PlanSettings, Settings
from workers.schedule import LocalCrontab, beat_schedule

BERLIN = ZoneInfo("Europe/Berlin")
EVERY = timedelta(minutes=2)
NIGHTLY = LocalCrontab("30 2 * * *", "Europe/Berlin")


@pytest.fixture(autouse=True)
def _app() -> Any:
    """Celery's schedules ask their app for settings; its time zone must not matter."""
    app = Celery("schedules", set_as_current=True)
    app.conf.update(timezone="Asia/Tokyo")
    yield
    app.close()


def fires(schedule: LocalCrontab, since: datetime, until: datetime) -> list[datetime]:
    """Every time that beat would send it, looking every ten minutes."""
    sent, last, now = [], since, since
    while now < until:
        now += timedelta(minutes=10)
        with mock.patch.object(LocalCrontab, "now", return_value=now.astimezone(schedule.tz)):
            if schedule.is_due(last).is_due:
                sent.append(now)
                last = now
    return sent


def test_a_plan_is_due_at_its_own_local_time() -> None:
    sent = fires(NIGHTLY, datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 7, 4, tzinfo=UTC))
    assert [f"{at:%d %H:%M}" for at in sent] == ["01 00:30", "02 00:30", "03 00:30"]


def test_the_night_whose_time_the_clocks_skip_is_run_once_all_the_same() -> None:
    sent = fires(
        LocalCrontab("30 2 * * *", "Europe/Berlin"),
        datetime(2026, 3, 28, tzinfo=UTC),
        datetime(2026, 3, 31, tzinfo=UTC),
    )
    assert [at.astimezone(BERLIN).date().day for at in sent] == [28, 29, 30]


def test_the_night_whose_time_comes_twice_is_run_once() -> None:
    sent = fires(
        LocalCrontab("30 2 * * *", "Europe/Berlin"),
        datetime(2026, 10, 24, tzinfo=UTC),
        datetime(2026, 10, 27, tzinfo=UTC),
    )
    assert [at.astimezone(BERLIN).date().day for at in sent] == [24, 25, 26]


def test_three_missed_nights_are_sent_once() -> None:
    now = datetime(2026, 7, 4, 12, tzinfo=UTC)
    assert len(fires(NIGHTLY, now - timedelta(minutes=10), now)) == 0
    with mock.patch.object(LocalCrontab, "now", return_value=now.astimezone(BERLIN)):
        assert NIGHTLY.is_due(now - timedelta(days=3)).is_due
        assert not NIGHTLY.is_due(now).is_due


def test_a_schedule_survives_beats_file() -> None:
    schedule = LocalCrontab("30 2 * * 1-5", "Europe/Berlin")
    again = pickle.loads(pickle.dumps(schedule))  # noqa: S301 - what beat does with its own file
    assert again == schedule
    assert again.tz == BERLIN
    assert again != LocalCrontab("30 2 * * 1-5", "UTC")
    assert again != LocalCrontab("31 2 * * 1-5", "Europe/Berlin")


def test_every_plan_with_a_schedule_is_sent_by_name_and_expires() -> None:
    plans = {
        "nightly": PlanSettings(schedule="30 2 * * *"),
        "weekly": PlanSettings(schedule="0 4 * * 0", timezone="Europe/Berlin"),
        "by-hand": PlanSettings(),
    }
    entries = beat_schedule(Settings(destinations={}, sources={}, plans=plans, timezone="Asia/Tokyo"), EVERY)
    assert set(entries) == {"plan nightly", "plan weekly", "tend runs"}
    assert entries["plan nightly"]["kwargs"] == {"plan": "nightly", "slot": "due"}
    assert entries["plan nightly"]["schedule"].tz == ZoneInfo("Asia/Tokyo")
    assert entries["plan weekly"]["schedule"].tz == BERLIN
    assert all(entry["options"]["expires"] > 0 for entry in entries.values())

"""Plans as beat sees them: due in their own time zone, over clock changes, each later by its jitter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

import pytest
from celery import Celery

from tasks.destinations.local import LocalSettings
from tasks.settings import DestinationSettings, PlanSettings, Settings
from workers.schedule import PlanSchedule, beat_schedule, delay_of

BERLIN = ZoneInfo("Europe/Berlin")
EVERY = timedelta(minutes=2)
NIGHTLY = PlanSchedule("30 2 * * *", BERLIN)


@pytest.fixture(autouse=True)
def _app() -> Any:
    """Celery's schedules ask their app for settings; its time zone must not matter."""
    app = Celery("schedules", set_as_current=True)
    app.conf.update(timezone="Asia/Tokyo")
    yield
    app.close()


def fires(schedule: PlanSchedule, since: datetime, until: datetime) -> list[datetime]:
    """Every time that beat would send it, looking when it was told to, and every ten minutes."""
    sent, last, now = [], since, since
    while now < until:
        with mock.patch.object(PlanSchedule, "now", return_value=now.astimezone(schedule.zone)):
            state = schedule.is_due(last)
        if state.is_due:
            sent.append(now)
            last = now
        assert state.next > 0
        now += min(timedelta(minutes=10), timedelta(seconds=state.next))
    return sent


def test_a_plan_is_due_at_its_own_local_time() -> None:
    sent = fires(NIGHTLY, datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 7, 4, tzinfo=UTC))
    assert [f"{at:%d %H:%M}" for at in sent] == ["01 00:30", "02 00:30", "03 00:30"]


def test_the_night_whose_time_the_clocks_skip_is_run_once_all_the_same() -> None:
    sent = fires(NIGHTLY, datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC))
    assert [f"{at.astimezone(BERLIN):%d %H:%M}" for at in sent] == ["28 02:30", "29 03:30", "30 02:30"]


def test_the_night_whose_time_comes_twice_is_run_once() -> None:
    sent = fires(NIGHTLY, datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 27, tzinfo=UTC))
    assert [f"{at.astimezone(BERLIN):%d %H:%M%z}" for at in sent] == ["24 02:30+0200", "25 02:30+0200", "26 02:30+0100"]


def test_jitter_moves_every_night_by_the_same_also_over_clock_changes() -> None:
    later = PlanSchedule("30 2 * * *", BERLIN, timedelta(minutes=47))
    for day in (datetime(2026, 3, 27, 20, tzinfo=UTC), datetime(2026, 10, 23, 20, tzinfo=UTC)):
        pairs = zip(*(fires(each, day, day + timedelta(days=4)) for each in (NIGHTLY, later)), strict=True)
        assert [after - before for before, after in pairs] == [timedelta(minutes=47)] * 4


def test_three_missed_nights_are_sent_once() -> None:
    now = datetime(2026, 7, 4, 12, tzinfo=UTC)
    assert len(fires(NIGHTLY, now - timedelta(minutes=10), now)) == 0
    with mock.patch.object(PlanSchedule, "now", return_value=now.astimezone(BERLIN)):
        assert NIGHTLY.is_due(now - timedelta(days=3)).is_due
        assert not NIGHTLY.is_due(now).is_due


def test_two_schedules_are_the_same_if_all_of_them_is() -> None:
    assert PlanSchedule("30 2 * * 1-5", BERLIN) == PlanSchedule("30 2 * * 1-5", BERLIN)
    for other in (
        PlanSchedule("30 2 * * 1-5", ZoneInfo("UTC")),
        PlanSchedule("31 2 * * 1-5", BERLIN),
        PlanSchedule("30 2 * * 1-5", BERLIN, timedelta(1)),
    ):
        assert other != PlanSchedule("30 2 * * 1-5", BERLIN)


def settings(plans: dict[str, PlanSettings], host: str = "local", store: str = "/store") -> Settings:
    places: dict[str, DestinationSettings] = {"here": LocalSettings(kind="local", path=Path(store))}
    return Settings(destinations=places, sources={}, plans=plans, timezone="Asia/Tokyo", host=host)


def test_every_plan_with_a_schedule_is_sent_by_name_and_time() -> None:
    plans = {
        "nightly": PlanSettings(schedule="30 2 * * *"),
        "weekly": PlanSettings(schedule="0 4 * * 0", timezone="Europe/Berlin", jitter=timedelta(hours=1)),
        "by-hand": PlanSettings(),
    }
    entries = beat_schedule(settings(plans), EVERY)
    assert set(entries) == {"plan nightly", "plan weekly", "tend runs"}
    assert entries["plan nightly"]["kwargs"]["plan"] == "nightly"
    due = datetime(2026, 7, 1, 2, 30, tzinfo=ZoneInfo("Asia/Tokyo"))
    with mock.patch.object(PlanSchedule, "now", return_value=due):
        assert entries["plan nightly"]["kwargs"]["slot"]() == "20260630T1730Z"
    assert entries["plan nightly"]["schedule"] == PlanSchedule("30 2 * * *", ZoneInfo("Asia/Tokyo"))
    assert entries["plan weekly"]["schedule"].zone == BERLIN
    assert timedelta() < entries["plan weekly"]["schedule"].delay < timedelta(hours=1)
    # By the clock of beat's host, which may be behind: it would never be taken. The next one says the same once more.
    assert all("expires" not in entries[name].get("options", {}) for name in ("plan nightly", "plan weekly"))


def test_jitter_differs_by_plan_host_and_destination_and_stays() -> None:
    plans = {name: PlanSettings(schedule="30 2 * * *", jitter=timedelta(hours=1)) for name in ("one", "two")}
    delays = [
        delay_of(settings(plans), "one"),
        delay_of(settings(plans), "two"),
        delay_of(settings(plans, host="other"), "one"),
        delay_of(settings(plans, store="/elsewhere"), "one"),
    ]
    assert len(set(delays)) == 4
    assert delays[0] == delay_of(settings(plans), "one")

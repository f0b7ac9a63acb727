"""Five-field schedules, compared with the Celery that runs them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import crontab
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.cron import parse


def celerys(text: str, **options: Any) -> Any:
    minute, hour, day, month, weekday = text.split()
    return crontab(minute, hour, day_of_month=day, month_of_year=month, day_of_week=weekday, **options)


@pytest.mark.parametrize(
    "text",
    [
        "30 2 * * *",
        "*/15 8-18 * * mon-fri",
        "0 0 1,15 jan,jul *",
        "5 4 29 2 *",
        "0 22-4/2 * * sat-sun",
        "59 23 31 12 0",
    ],
)
def test_a_schedule_means_what_it_means_to_celery(text: str) -> None:
    ours, theirs = parse(text), celerys(text)
    assert ours.minutes == theirs.minute
    assert ours.hours == theirs.hour
    assert ours.days == theirs.day_of_month
    assert ours.months == theirs.month_of_year
    assert ours.weekdays == theirs.day_of_week


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "five fields"),
        ("@daily", "five fields"),
        ("30 2 * *", "this one has 4"),
        ("60 2 * * *", "`60` is no minute; use 0-59"),
        ("30 24 * * *", "`24` is no hour; use 0-23"),
        ("30 2 0 * *", "`0` is no day of month; use 1-31"),
        ("30 2 * 13 *", "`13` is no month"),
        ("30 2 * * 7", "`7` is no day of week; use 0-6 \\(0 is Sunday\\)"),
        ("mon 2 * * *", "`mon` is no minute"),
        ("30 2 * * jan", "`jan` is no day of week"),
        ("*/15x 2 * * *", "is no minute"),
        ("1-2-3 2 * * *", "is no minute"),
        ("*/0 2 * * *", "is no minute"),
        ("1, 2 * * *", "is no minute"),
        ("-1 2 * * *", "is no minute"),
        ("²3 2 * * *", "is no minute"),
        ("30 2 30 2 *", "never comes: there is no 30 February"),
        ("30 2 31 apr,jun,sep,nov *", "never comes: there is no 31 April"),
    ],
)
def test_what_is_no_schedule_is_refused_in_words(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(text)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.text("*0123456789-/,amonju", max_size=6), min_size=4, max_size=6).map(" ".join))
def test_what_is_accepted_never_fails_in_celery(text: str) -> None:
    try:
        ours = parse(text)
    except ValueError:
        return
    assert ours.minutes == celerys(text).minute


def test_a_schedule_of_leap_days_is_known_as_such() -> None:
    assert parse("0 0 29 2 *").leap_days_only
    assert parse("0 0 29-31 2 *").leap_days_only
    assert not parse("0 0 28,29 2 *").leap_days_only
    assert not parse("0 0 29 2,3 *").leap_days_only


def test_a_day_must_fit_all_three_fields() -> None:
    friday_the_13th = parse("0 12 13 * fri")
    assert friday_the_13th.on(date(2026, 11, 13))
    assert not friday_the_13th.on(date(2026, 12, 13))
    assert not friday_the_13th.on(date(2026, 11, 20))
    assert friday_the_13th.at(time(12, 0))
    assert not friday_the_13th.at(time(12, 1))


def started(text: str, begin: datetime, hours: int) -> list[str]:
    """When Celery's own beat would start it, asked every minute."""
    zone = ZoneInfo("Europe/Berlin")
    clock = begin
    app = Celery(set_as_current=False)
    app.conf.update(timezone="Europe/Berlin")
    schedule = celerys(text, nowfun=lambda: clock.astimezone(zone), app=app)
    last, starts = begin.astimezone(zone), []
    while clock < begin + timedelta(hours=hours):
        if schedule.is_due(last).is_due:
            last = clock.astimezone(zone)
            starts.append(f"{last:%d %H:%M%z}")
        clock += timedelta(minutes=1)
    return starts


def test_celery_starts_a_skipped_run_later_and_a_doubled_one_once() -> None:
    """What `check` tells about clock changes rests on this; see tasks/configuration/problems.py."""
    assert started("30 2 * * *", datetime(2027, 3, 27, 22, tzinfo=UTC), 30) == ["28 03:30+0200", "29 02:30+0200"]
    assert started("30 2 * * *", datetime(2027, 10, 30, 22, tzinfo=UTC), 30) == ["31 02:30+0200", "01 02:30+0100"]
    assert started("30 * * * *", datetime(2027, 3, 28, 0, tzinfo=UTC), 2) == ["28 01:30+0100", "28 03:30+0200"]

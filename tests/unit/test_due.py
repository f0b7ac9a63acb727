"""When things are to start, over clock changes; the delay of one's own; and the hours in which a source may be read."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cron import parse
from tasks.due import delay, is_slot, last_due, next_due, parse_window, shortest_gap, slot_of

BERLIN = ZoneInfo("Europe/Berlin")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


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
def test_when_a_schedule_was_last_due(schedule: str, zone: str, now: str, due: str) -> None:
    assert last_due(parse(schedule), ZoneInfo(zone), utc(now)) == utc(due)


@pytest.mark.parametrize(
    ("schedule", "zone", "now", "due"),
    [
        ("30 2 * * *", "UTC", "2026-11-23T02:30", "2026-11-24T02:30"),
        ("30 2 * * *", "UTC", "2026-11-23T02:29", "2026-11-23T02:30"),
        ("0 0 29 2 *", "UTC", "2026-11-23T12:00", "2028-02-29T00:00"),
        ("0 0 29 2 *", "UTC", "2096-03-01T12:00", "2104-02-29T00:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T01:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T00:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30", "2026-10-26T01:30"),
    ],
)
def test_when_a_schedule_is_next_due(schedule: str, zone: str, now: str, due: str) -> None:
    assert next_due(parse(schedule), ZoneInfo(zone), utc(now)) == utc(due)


def every(schedule: str, since: str, hours: int) -> list[str]:
    found, now = [], utc(since) - timedelta(seconds=1)
    while (now := next_due(parse(schedule), BERLIN, now)) < utc(since) + timedelta(hours=hours):
        found.append(f"{now.astimezone(BERLIN):%H:%M%z}")
    return found


def test_a_schedule_of_every_hour_goes_on_over_clock_changes() -> None:
    assert every("0 * * * *", "2026-10-25T00:00", 3) == ["02:00+0200", "02:00+0100", "03:00+0100"]
    assert every("30 * * * *", "2026-03-29T00:00", 3) == ["01:30+0100", "03:30+0200", "04:30+0200"]


def test_several_times_in_a_skipped_hour_are_each_made_up_for_and_none_twice() -> None:
    assert every("*/30 2,3 * * *", "2026-03-29T00:00", 5) == ["03:00+0200", "03:30+0200"]
    assert every("*/30 2 * * *", "2026-10-25T00:00", 5) == ["02:00+0200", "02:30+0200"]


@given(
    st.sampled_from(["30 2 * * *", "*/20 1-3 * * *", "0 * * * *", "15 2 29 * *", "0 3 * * 0"]),
    st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "UTC"]),
    st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1)),
)
def test_the_next_time_after_the_last_one_is_later_than_now_and_none_is_between(
    schedule: str, zone: str, moment: datetime
) -> None:
    now, cron = moment.replace(tzinfo=UTC), parse(schedule)
    last = last_due(cron, ZoneInfo(zone), now)
    assert last is not None
    coming = next_due(cron, ZoneInfo(zone), now)
    assert last <= now < coming
    assert next_due(cron, ZoneInfo(zone), last) == coming
    assert last_due(cron, ZoneInfo(zone), coming - timedelta(microseconds=1)) == last


@pytest.mark.parametrize(
    ("schedule", "gap"), [("30 2 * * *", 1440), ("0,50 * * * *", 10), ("0 0,23 * * *", 60), ("*/7 * * * *", 4)]
)
def test_the_shortest_time_between_two(schedule: str, gap: int) -> None:
    assert shortest_gap(parse(schedule)) == timedelta(minutes=gap)


def test_a_delay_is_always_the_same_within_its_bound_and_spread_over_it() -> None:
    most = timedelta(minutes=10)
    delays = [delay(f"host {number}", most) for number in range(3000)]
    assert delays == [delay(f"host {number}", most) for number in range(3000)]
    assert all(timedelta() <= each < most and each.microseconds == 0 for each in delays)
    tenths = Counter(each // timedelta(minutes=1) for each in delays)
    assert set(tenths) == set(range(10))
    assert min(tenths.values()) > 220
    assert delay("any", timedelta()) == timedelta()


def test_a_slot_is_told_from_what_other_applications_choose() -> None:
    assert slot_of(utc("2026-11-23T02:30").astimezone(BERLIN)) == "20261123T0230Z"
    assert is_slot("20261123T0230Z")
    assert not is_slot("")
    assert not is_slot("4f3c9b1e-9a57-4f3d-8f5f-0a4b6a1f7c11")


@pytest.mark.parametrize(
    ("window", "now", "opens", "closes"),
    [
        # Berlin is two hours ahead then.
        ("22:00-06:00", "2026-07-01T19:59", "2026-07-01T20:00", "2026-07-02T04:00"),
        ("22:00-06:00", "2026-07-01T20:00", "2026-07-01T20:00", "2026-07-02T04:00"),
        ("22:00-06:00", "2026-07-02T03:59", "2026-07-01T20:00", "2026-07-02T04:00"),
        ("22:00-06:00", "2026-07-02T04:00", "2026-07-02T20:00", "2026-07-03T04:00"),
        ("01:00-05:00", "2026-07-01T12:00", "2026-07-01T23:00", "2026-07-02T03:00"),
        # The clocks go from 02:00 to 03:00; and from 03:00 to 02:00.
        ("02:30-05:00", "2026-03-28T12:00", "2026-03-29T01:00", "2026-03-29T03:00"),
        ("22:00-02:30", "2026-03-28T22:00", "2026-03-28T21:00", "2026-03-29T01:00"),
        ("02:10-02:50", "2026-03-28T12:00", "2026-03-30T00:10", "2026-03-30T00:50"),
        ("02:30-05:00", "2026-10-24T12:00", "2026-10-25T00:30", "2026-10-25T04:00"),
    ],
)
def test_the_window_that_is_open_or_the_next_to_open(window: str, now: str, opens: str, closes: str) -> None:
    assert parse_window(window).opening(utc(now), BERLIN) == (utc(opens), utc(closes))


@pytest.mark.parametrize("text", ["", "22-6", "22:00", "24:00-06:00", "22:00-06:60", "22:00 - 06:00", "6:00-7:00"])
def test_what_is_no_window_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="two times of the day, such as `22:00-06:00`"):
        parse_window(text)


def test_a_window_that_is_never_open_is_refused() -> None:
    with pytest.raises(ValueError, match="closes when it opens"):
        parse_window("06:00-06:00")

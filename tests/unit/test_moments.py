"""Times as people type them, in zones whose clocks jump."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import NotFound
from tasks.moments import newest_at, parse

NOW = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def shown(text: str, zone: str = "Europe/Berlin") -> str:
    """First and last instant, to the minute; the last is checked to be just before a whole one."""
    first, last = parse(text, ZoneInfo(zone), NOW)
    if first != last:
        last += timedelta(microseconds=1)
    return f"{first:%m-%dT%H:%M:%S} {last:%m-%dT%H:%M:%S}"


@pytest.mark.parametrize(
    ("typed", "covers"),
    [
        ("2026-11-23", "11-22T23:00:00 11-23T23:00:00"),
        ("2026-11-23 02:30", "11-23T01:30:00 11-23T01:31:00"),
        ("2026-11-23T02:30", "11-23T01:30:00 11-23T01:31:00"),
        ("2026-11-23 02:30:15", "11-23T01:30:15 11-23T01:30:16"),
        ("2026-11-23T02:30:15.250000", "11-23T01:30:15 11-23T01:30:15"),
        ("2026-11-23T02:30Z", "11-23T02:30:00 11-23T02:31:00"),
        ("2026-11-23 02:30 UTC", "11-23T02:30:00 11-23T02:31:00"),
        ("2026-11-23T02:30:00+05:30", "11-22T21:00:00 11-22T21:00:01"),
        ("2026-11-23 02:30 +0530", "11-22T21:00:00 11-22T21:01:00"),
        ("2026-11-23 02:30-05", "11-23T07:30:00 11-23T07:31:00"),
        ("2026-11-23 02:30 America/New_York", "11-23T07:30:00 11-23T07:31:00"),
        ("  2026-11-23   02:30  ", "11-23T01:30:00 11-23T01:31:00"),
        ("today", "11-22T23:00:00 11-23T23:00:00"),
        ("Yesterday", "11-21T23:00:00 11-22T23:00:00"),
        ("now", "11-23T02:30:00 11-23T02:30:00"),
        ("2 days ago", "11-21T02:30:00 11-21T02:30:00"),
        ("1 Hour Ago", "11-23T01:30:00 11-23T01:30:00"),
        ("36h", "11-21T14:30:00 11-21T14:30:00"),
        ("90m ago", "11-23T01:00:00 11-23T01:00:00"),
        ("1 week ago", "11-16T02:30:00 11-16T02:30:00"),
    ],
)
def test_what_is_typed_covers_what_it_says(typed: str, covers: str) -> None:
    assert shown(typed) == covers


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "latest",
        "monday",
        "2026",
        "23.11.2026",
        "11/23/2026",
        "2026-11-23 2:30",
        "2026-02-30",
        "2026-13-01",
        "2026-11-23 24:00",
        "2026-11-23 02:60",
        "2026-11-23 02:30 Mars/Olympus",
        "2026-11-23 02:30+25:00",
        "2 months ago",
        "999999w ago",
        "0001-01-01",
        "9999-12-31",
        "0001-01-01 00:00+10:00",
        "٢٠٢٦-11-23",
    ],
)
def test_what_is_no_time_is_refused_in_one_line_that_says_what_to_write(typed: str) -> None:
    with pytest.raises(NotFound, match=r"write `2026-11-23`|use a name such as") as refused:
        parse(typed, BERLIN, NOW)
    assert "\n" not in str(refused.value)


def test_a_time_that_the_clocks_skip_is_refused_with_its_neighbours() -> None:
    with pytest.raises(NotFound) as refused:
        parse("2026-03-29 02:30", BERLIN, NOW)
    assert str(refused.value) == (
        "2026-03-29 02:30 does not exist in Europe/Berlin: the clocks went from 02:00 to 03:00; use a time up to 01:59"
        " or from 03:00"
    )
    assert shown("2026-03-29 01:59") == "03-29T00:59:00 03-29T01:00:00"
    assert shown("2026-03-29 03:00") == "03-29T01:00:00 03-29T01:01:00"


def test_a_skipped_time_is_looked_for_in_the_zone_that_was_typed() -> None:
    assert shown("2026-03-29 02:30 Asia/Tokyo") == "03-28T17:30:00 03-28T17:31:00"
    with pytest.raises(NotFound, match="does not exist in America/New_York"):
        parse("2026-03-08 02:30 America/New_York", BERLIN, NOW)


def test_a_time_that_comes_twice_is_refused_with_both_and_either_can_be_typed() -> None:
    with pytest.raises(NotFound) as refused:
        parse("2026-10-25 02:30", BERLIN, NOW)
    assert str(refused.value) == (
        "2026-10-25 02:30 came twice in Europe/Berlin, as the clocks were put back; say which:"
        " `2026-10-25 02:30+02:00`, the earlier, or `2026-10-25 02:30+01:00`, the later"
    )
    assert shown("2026-10-25 02:30+02:00") == "10-25T00:30:00 10-25T00:31:00"
    assert shown("2026-10-25 02:30+01:00") == "10-25T01:30:00 10-25T01:31:00"


def test_half_an_hour_can_be_skipped_or_come_twice() -> None:
    with pytest.raises(NotFound, match="went from 02:00 to 02:30"):
        parse("2026-10-04 02:29", ZoneInfo("Australia/Lord_Howe"), NOW)
    with pytest.raises(NotFound, match=r"01:45\+11:00.*01:45\+10:30"):
        parse("2026-04-05 01:45", ZoneInfo("Australia/Lord_Howe"), NOW)


@pytest.mark.parametrize(
    ("day", "zone", "covers"),
    [
        ("2026-10-25", "Europe/Berlin", "10-24T22:00:00 10-25T23:00:00"),
        ("2026-03-29", "Europe/Berlin", "03-28T23:00:00 03-29T22:00:00"),
        ("2026-04-24", "Africa/Cairo", "04-23T22:00:00 04-24T21:00:00"),
        ("2026-11-01", "America/Havana", "11-01T04:00:00 11-02T05:00:00"),
        ("2011-12-29", "Pacific/Apia", "12-29T10:00:00 12-30T10:00:00"),
        ("2011-12-31", "Pacific/Apia", "12-30T10:00:00 12-31T10:00:00"),
    ],
    ids=["25 hours", "23 hours", "no midnight", "two midnights", "before a skipped day", "after a skipped day"],
)
def test_a_day_is_a_whole_day_however_long(day: str, zone: str, covers: str) -> None:
    assert shown(day, zone) == covers


def test_a_day_that_the_calendar_skipped_is_refused() -> None:
    with pytest.raises(NotFound, match="2011-12-30 does not exist in Pacific/Apia"):
        parse("2011-12-30", ZoneInfo("Pacific/Apia"), NOW)


@settings(max_examples=200, deadline=None)
@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1)),
    st.sampled_from(["Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Asia/Tehran", "Pacific/Apia", "UTC"]),
)
def test_any_instant_that_is_printed_with_its_offset_is_understood_again(naive: datetime, zone: str) -> None:
    local = naive.replace(microsecond=0, tzinfo=UTC).astimezone(ZoneInfo(zone))
    assert parse(local.isoformat(), BERLIN, NOW).first == local
    assert parse(f"{local:%Y-%m-%d}", ZoneInfo(zone), NOW).first <= local
    assert parse(f"{local:%Y-%m-%d}", ZoneInfo(zone), NOW).last > local


@dataclass(frozen=True)
class Taken:
    id: str
    started: datetime
    complete: bool = True


def test_at_finds_the_newest_snapshot_started_at_or_before() -> None:
    nights = [Taken(f"{day}", datetime(2026, 11, day, 1, 30, 43, tzinfo=UTC)) for day in (22, 20, 21)]

    def at(text: str) -> str | None:
        found = newest_at(nights, parse(text, BERLIN, NOW))
        return found.id if found else None

    assert at("2026-11-21 02:30:43") == "21"
    assert at("2026-11-21 02:30:42") == "20"
    assert at("2026-11-21 02:30") == "21", "the minute that a listing shows"
    assert at("2026-11-21") == "21", "the state that the day ended with"
    assert at("2026-11-19") is None
    assert at("now") == "22"
    assert at("2026-11-21 02:30:43.000000") == "21", "the very instant"

"""Clock changes, found by asking the zone itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.clock import beginning, changes, occurrences, skipping

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Havana", "Asia/Tehran"]


def test_a_year_in_berlin_has_two_changes() -> None:
    found = list(changes(ZoneInfo("Europe/Berlin"), datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)))
    assert [(each.instant, each.before, each.after) for each in found] == [
        (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 3, 29, 2), datetime(2026, 3, 29, 3)),
        (datetime(2026, 10, 25, 1, tzinfo=UTC), datetime(2026, 10, 25, 3), datetime(2026, 10, 25, 2)),
    ]
    assert [each.skipped for each in found] == [timedelta(hours=1), timedelta(hours=-1)]


def test_a_zone_without_changes_has_none() -> None:
    assert not list(changes(ZoneInfo("UTC"), datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)))


def test_a_change_at_the_end_of_the_time_asked_for_is_not_in_it() -> None:
    instant = datetime(2026, 3, 29, 1, tzinfo=UTC)
    zone = ZoneInfo("Europe/Berlin")
    assert not list(changes(zone, instant - timedelta(days=9), instant))
    assert len(list(changes(zone, instant - timedelta(days=9), instant + timedelta(seconds=1)))) == 1


@settings(max_examples=300, deadline=None)
@given(st.datetimes(datetime(1975, 1, 1), datetime(2036, 1, 1)), st.sampled_from(ZONES))
def test_a_local_time_is_either_skipped_or_really_shown(local: datetime, name: str) -> None:
    zone = ZoneInfo(name)
    local = local.replace(microsecond=0)
    instants = occurrences(local, zone)
    for instant in instants:
        assert instant.astimezone(zone).replace(tzinfo=None) == local
    change = skipping(local, zone)
    assert (change is None) == bool(instants)
    if change:
        # The second before the change, and the change itself, show what the change says they do.
        second = timedelta(seconds=1)
        assert (change.instant - second).astimezone(zone).replace(tzinfo=None) == change.before - second
        assert change.instant.astimezone(zone).replace(tzinfo=None) == change.after


@settings(max_examples=200, deadline=None)
@given(st.dates(datetime(1975, 1, 1).date(), datetime(2036, 1, 1).date()), st.sampled_from(ZONES))
def test_a_day_begins_right_after_the_day_before_ended(day: datetime, name: str) -> None:
    zone = ZoneInfo(name)
    begins = beginning(day, zone)
    assert begins.astimezone(zone).date() == day
    assert (begins - timedelta(seconds=1)).astimezone(zone).date() < day


@pytest.mark.parametrize(("hour", "times"), [(1, 1), (2, 2), (3, 1)])
def test_the_hour_that_is_put_back_comes_twice(hour: int, times: int) -> None:
    assert len(occurrences(datetime(2026, 10, 25, hour, 30), ZoneInfo("Europe/Berlin"))) == times

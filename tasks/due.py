"""When something is to start: the times of a schedule, a delay of its own, and the hours in which a source may be read.
Pure reckoning, in UTC; beat, workers and whoever looks for what is late reckon the same."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from tasks.clock import occurrences, skipping
from tasks.cron import Schedule

_DAYS = 8 * 366 + 2
"""From one 29 February to the next, around the year 2100."""
_SLOT = "%Y%m%dT%H%MZ"


def last_due(schedule: Schedule, zone: ZoneInfo, now: datetime) -> datetime | None:
    """The last time at or before `now`. A time that the clocks skip counts as the moment after; one that comes twice
    counts once, the first, but for a schedule of every hour, which goes on."""
    today = now.astimezone(zone).date()
    for back in range(-1, _DAYS):
        past = [at for at in _times(schedule, zone, today - timedelta(days=back)) if at <= now]
        if past:
            return past[-1]
    return None


def next_due(schedule: Schedule, zone: ZoneInfo, now: datetime) -> datetime:
    """The first time after `now`."""
    return next(_coming(schedule, zone, now))


def shortest_gap(schedule: Schedule) -> timedelta:
    """The least time between two of the next hundred times, where no clock changes."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    times = islice(_coming(schedule, ZoneInfo("UTC"), begin), 101)
    return min(after - before for before, after in pairwise(times))


def _coming(schedule: Schedule, zone: ZoneInfo, now: datetime) -> Iterator[datetime]:
    today = now.astimezone(zone).date()
    for ahead in range(-1, 100 * _DAYS):
        yield from (at for at in _times(schedule, zone, today + timedelta(days=ahead)) if at > now)


def _times(schedule: Schedule, zone: ZoneInfo, day: date) -> list[datetime]:
    """All of one day, in order."""
    if not schedule.on(day):
        return []
    found: set[datetime] = set()
    for hour in schedule.hours:
        for minute in schedule.minutes:
            local = datetime.combine(day, time(hour, minute))
            shown = occurrences(local, zone)
            found.update(shown if len(schedule.hours) == 24 else (shown or (_after(local, zone),))[:1])
    return sorted(found)


def _after(local: datetime, zone: ZoneInfo) -> datetime:
    """When a skipped local time is made up for: as much later as the clocks jump."""
    return local.replace(tzinfo=zone).astimezone(UTC)


def delay(seed: str, most: timedelta) -> timedelta:
    """Always the same for a seed, in whole seconds below `most`, and spread evenly over them."""
    dice = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest())
    return timedelta(seconds=dice * int(most.total_seconds()) >> 64)


def slot_of(due: datetime) -> str:
    """The name of a time at which a plan was due, which has one run."""
    return due.astimezone(UTC).strftime(_SLOT)


def is_slot(text: str) -> bool:
    """Whether a run was begun because its plan was due, and not by hand."""
    return re.fullmatch(r"\d{8}T\d{4}Z", text, re.ASCII) is not None


class Opening(NamedTuple):
    """From when to when something may be begun."""

    opens: datetime
    closes: datetime


class Window(NamedTuple):
    """Hours of the day, as a clock on the wall shows them; over midnight where it closes before it opens."""

    opens: time
    closes: time

    def opening(self, now: datetime, zone: ZoneInfo) -> Opening:
        """The one that is open at `now`, or the next to open."""
        today = now.astimezone(zone).date()
        for ahead in range(-1, 4):
            day = today + timedelta(days=ahead)
            end = day + timedelta(days=self.closes < self.opens)
            found = Opening(_instant(day, self.opens, zone), _instant(end, self.closes, zone))
            if found.opens < found.closes and now < found.closes:
                return found
        raise AssertionError("clocks do not skip the same hours on three days")

    def __str__(self) -> str:
        return f"{self.opens:%H:%M}-{self.closes:%H:%M}"


def parse_window(text: str) -> Window:
    """Raises `ValueError`, in words for the person who wrote it."""
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", text, re.ASCII)
    if not found:
        raise ValueError("a window is two times of the day, such as `22:00-06:00`")
    window = Window(time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4])))
    if window.opens == window.closes:
        raise ValueError("its window closes when it opens; leave it out to allow any time")
    return window


def _instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The first time that clocks show this, or where they skip it the moment of the jump."""
    local = datetime.combine(day, at)
    change = skipping(local, zone)
    return change.instant if change else occurrences(local, zone)[0]

"""Local time as clocks really show it: the times a clock change skips, those that come twice, and when a day begins."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo


class Change(NamedTuple):
    """One change of a zone's clocks, to the second: what they show right before it and right after, without a zone."""

    instant: datetime
    before: datetime
    after: datetime

    @property
    def skipped(self) -> timedelta:
        """How much local time never comes; negative: how much comes twice."""
        return self.after - self.before

    def skips(self, local: datetime) -> bool:
        return self.before <= local < self.after


def changes(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[Change]:
    """The changes of a zone's offset between two aware times, in order."""
    step = timedelta(hours=12)
    low = start.astimezone(UTC)
    while low < end:
        high = low + step
        if _offset(zone, low) != _offset(zone, high):
            change = _between(zone, low, high)
            if change.instant < end:
                yield change
        low = high


def skipping(local: datetime, zone: ZoneInfo) -> Change | None:
    """The change that skips this naive local time, or None if the zone's clocks do show it."""
    around = local.replace(tzinfo=UTC)
    for change in changes(zone, around - timedelta(days=2), around + timedelta(days=2)):
        if change.skips(local):
            return change
    return None


def occurrences(local: datetime, zone: ZoneInfo) -> tuple[datetime, ...]:
    """When the zone's clocks show this naive local time: never, once, or twice; in UTC, in order."""
    readings = {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return tuple(sorted(instant for instant in readings if instant.astimezone(zone).replace(tzinfo=None) == local))


def beginning(day: date, zone: ZoneInfo) -> datetime:
    """The first instant, in UTC, at which the zone's calendar shows this day or, if it was skipped, a later one."""
    midnight = datetime.combine(day, time())
    change = skipping(midnight, zone)
    return change.instant if change else occurrences(midnight, zone)[0]


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _between(zone: ZoneInfo, low: datetime, high: datetime) -> Change:
    before, second = _offset(zone, low), timedelta(seconds=1)
    while high - low > second:
        middle = low + max((high - low) // 2 // second * second, second)
        if _offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    bare = high.replace(tzinfo=None)
    return Change(high, bare + before, bare + _offset(zone, high))

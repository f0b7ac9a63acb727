"""Times as people type them, for `restore --at` and `list --since`: a day, a minute, an instant, or so long ago."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tasks.clock import beginning, occurrences, skipping
from tasks.errors import NotFound
from tasks.retention import SnapshotLike

_FORMS = "write `2026-11-23`, `2026-11-23 02:30`, `2026-11-23T02:30:15+01:00`, `yesterday` or `3 days ago`"
_TYPED = re.compile(
    r"""(?P<date>\d{4}-\d\d-\d\d)
        (?:[T\s]\s*(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?P<fraction>\.\d{1,6})?)?
           \s*(?P<zone>Z|UTC|[+-]\d\d(?::?\d\d)?|[A-Z][A-Za-z_+-]*(?:/[A-Za-z0-9_+-]+)+)?)?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_AGO = re.compile(r"(\d{1,5})\s*(s|m|h|d|w|seconds?|minutes?|hours?|days?|weeks?)(?:\s+ago)?", re.IGNORECASE | re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

S = TypeVar("S", bound=SnapshotLike)


class Moment(NamedTuple):
    """What was typed, as the first and the last instant it covers, in UTC: a day is a whole day, `02:30` that minute.

    `--since` means `first`. `--at` means `last`: `--at 2026-11-23` is the state that day ended with, and the minute
    that `list` shows finds its snapshot.
    """

    first: datetime
    last: datetime


def parse(text: str, zone: ZoneInfo, now: datetime) -> Moment:
    """What a person typed, in `zone` unless it names its own. Raises `NotFound`, with what to type instead, where it
    is no time, where the clocks of the zone skip it, and where they show it twice: a restore must not guess an hour."""
    typed = " ".join(text.split())
    if typed.lower() == "now":
        return Moment(now.astimezone(UTC), now.astimezone(UTC))
    if typed.lower() in ("today", "yesterday"):
        return _day(now.astimezone(zone).date() - timedelta(days=typed.lower() == "yesterday"), zone)
    try:
        if match := _AGO.fullmatch(typed):
            instant = now.astimezone(UTC) - timedelta(**{_UNITS[match[2][0].lower()]: int(match[1])})
            return Moment(instant, instant)
        if match := _TYPED.fullmatch(typed):
            day = date.fromisoformat(match["date"])
            return _day(day, zone) if match["hour"] is None else _time(day, match, zone)
    except (ValueError, OverflowError) as error:
        raise NotFound(f"there is no such time as `{text}`; {_FORMS}") from error
    raise NotFound(f"`{text}` is no time; {_FORMS}")


def newest_at(snapshots: Iterable[S], moment: Moment) -> S | None:
    """The newest snapshot started at or before the moment; None if all are younger."""
    before = (snapshot for snapshot in snapshots if snapshot.started <= moment.last)
    return max(before, key=lambda snapshot: (snapshot.started, snapshot.id), default=None)


def _day(day: date, zone: ZoneInfo) -> Moment:
    first, end = beginning(day, zone), beginning(day + timedelta(days=1), zone)
    if first == end:
        raise NotFound(f"{day} does not exist in {zone}: the calendar there skipped it")
    return Moment(first, end - timedelta(microseconds=1))


def _time(day: date, match: re.Match[str], zone: ZoneInfo) -> Moment:
    clock = time(int(match["hour"]), int(match["minute"]), int(match["second"] or 0))
    fraction = match["fraction"] or ""
    local = datetime.combine(day, clock) + timedelta(microseconds=int(fraction[1:].ljust(6, "0")))
    covers = timedelta(minutes=1) if match["second"] is None else timedelta(seconds=1)
    first = _instant(local, match["zone"], zone)
    return Moment(first, first if fraction else first + covers - timedelta(microseconds=1))


def _instant(local: datetime, named: str | None, zone: ZoneInfo) -> datetime:
    if named and named.upper() in ("Z", "UTC"):
        return local.replace(tzinfo=UTC)
    if named and named[0] in "+-":
        return datetime.fromisoformat(f"{local.isoformat()}{named}").astimezone(UTC)
    if named:
        zone = _zone(named)
    change = skipping(local, zone)
    if change:
        raise NotFound(
            f"{local:%Y-%m-%d %H:%M} does not exist in {zone}: the clocks went from {change.before:%H:%M} to"
            f" {change.after:%H:%M}; use a time up to {change.before - timedelta(minutes=1):%H:%M} or from"
            f" {change.after:%H:%M}"
        )
    instants = occurrences(local, zone)
    if len(instants) == 2:
        early, late = (f"`{local:%Y-%m-%d %H:%M}{_offset(instant.astimezone(zone))}`" for instant in instants)
        raise NotFound(
            f"{local:%Y-%m-%d %H:%M} came twice in {zone}, as the clocks were put back; say which: {early}, the"
            f" earlier, or {late}, the later"
        )
    return instants[0]


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise NotFound(
            f"`{name}` is no time zone; use a name such as `Europe/Berlin`, or an offset as `+01:00`"
        ) from error


def _offset(local: datetime) -> str:
    return local.isoformat(timespec="minutes")[16:]

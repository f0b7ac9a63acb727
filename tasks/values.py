"""The types of the values in backup.toml: durations, sizes, time zones, schedules, each with its error in words."""

from __future__ import annotations

import difflib
import re
from datetime import timedelta
from functools import cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)

from tasks import cron, due

_DURATION = r"^\s*([0-9]{1,5})\s*([smhdw])\s*$"
_SIZE = r"^\s*([0-9]{1,9})\s*([kMGT])B\s*$"


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(_DURATION, value) if isinstance(value, str) else None
    if not match:
        raise ValueError("use a number and a unit in quotes: s, m, h, d or w, such as `36h`")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}[match[2]]
    return timedelta(**{unit: int(match[1])})


class ByteCount(int):
    """So many bytes, shown as backup.toml writes them: in the greatest unit that is exact, such as `8GB`."""

    def __str__(self) -> str:
        for power, unit in ((4, "TB"), (3, "GB"), (2, "MB")):
            if self % 1000**power == 0:
                return f"{self // 1000**power}{unit}"
        return f"{-(-self // 1000)}kB"


def _byte_count(value: Any) -> Any:
    if isinstance(value, ByteCount):
        return value
    match = re.fullmatch(_SIZE, value) if isinstance(value, str) else None
    if not match:
        raise ValueError("use a whole number and a unit in quotes: kB, MB, GB or TB, such as `8GB`")
    return ByteCount(int(match[1]) * 1000 ** " kMGT".index(match[2]))


def in_short(span: timedelta) -> str:
    """A duration as backup.toml writes it, in the greatest unit that is exact: `2d`, `36h`."""
    seconds = int(span.total_seconds())
    for unit, size in (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


@cache
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _timezone(value: str) -> str:
    if _zone(value) is None:
        zones = {zone.lower(): zone for zone in sorted(available_timezones())}
        cities = {name.rpartition("/")[2]: zone for name, zone in zones.items()}
        wanted = value.lower().strip().replace(" ", "_")
        near = [zones.get(wanted) or cities.get(wanted)]
        # Short names such as CEST are near to others that mean something else.
        near += [zones[name] for name in difflib.get_close_matches(wanted, zones, 1, 0.7) if "/" in wanted]
        near += [cities[name] for name in difflib.get_close_matches(wanted, cities, 1, 0.7) if len(wanted) > 4]
        meant = next(
            (f"did you mean `{zone}`?" for zone in near if zone), "use a name such as `Europe/Berlin` or `UTC`"
        )
        raise ValueError(f"`{value}` is no time zone; {meant}")
    return value


def _schedule(value: str) -> str:
    cron.parse(value)
    return value


def _window(value: str) -> str:
    due.parse_window(value)
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(in_short, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": _DURATION, "format": "span"}),
]
Size = Annotated[
    ByteCount,
    PlainValidator(_byte_count),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": _SIZE, "format": "size"}),
]


def at_least(size: str) -> AfterValidator:
    """For a `Size` that makes no sense below."""
    least = _byte_count(size)

    def check(value: ByteCount) -> ByteCount:
        if value < least:
            raise ValueError(f"must be at least `{least}`")
        return value

    return AfterValidator(check)


TimeZone = Annotated[str, AfterValidator(_timezone), WithJsonSchema({"type": "string", "format": "time-zone"})]
Schedule = Annotated[str, AfterValidator(_schedule), WithJsonSchema({"type": "string", "format": "schedule"})]
Window = Annotated[str, AfterValidator(_window), WithJsonSchema({"type": "string", "format": "window"})]
_NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
Name = Annotated[str, Field(pattern=f"^{_NAME}$")]
Count = Annotated[int, Field(ge=0, strict=True)]


def is_name(text: str) -> bool:
    """Whether it is a `Name`."""
    return bool(re.fullmatch(_NAME, text))

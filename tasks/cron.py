"""Five-field schedules: whether they can be understood, whether their time ever comes, and when a day has them due.

The meaning is that of Celery's `crontab`: a day must fit day-of-month *and* day-of-week.
"""

from __future__ import annotations

import re
from datetime import date, time
from typing import NamedTuple

_FIELDS = (
    ("minute", "0-59", 60, 0),
    ("hour", "0-23", 24, 0),
    ("day of month", "1-31", 31, 1),
    ("month", "1-12 or jan-dec", 12, 1),
    ("day of week", "0-6 (0 is Sunday) or sun-sat", 7, 0),
)
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_DAYS = "sun mon tue wed thu fri sat".split()
_MONTH_NAMES = "January February March April May June July August September October November December".split()
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class Schedule(NamedTuple):
    """The values each field allows; `weekdays` counts from Sunday, 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def on(self, day: date) -> bool:
        return day.day in self.days and day.month in self.months and day.isoweekday() % 7 in self.weekdays

    def at(self, clock: time) -> bool:
        return clock.hour in self.hours and clock.minute in self.minutes

    @property
    def leap_days_only(self) -> bool:
        """True if the only date it can fall on is 29 February."""
        return {(month, day) for month in self.months for day in self.days if day <= _LONGEST[month - 1]} == {(2, 29)}


def parse(text: str) -> Schedule:
    """Raises `ValueError`, in words for the person who wrote it, also where the time can never come."""
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(
            "a schedule has five fields, minute hour day-of-month month day-of-week, such as `30 1 * * *`;"
            f" this one has {len(fields)}"
        )
    allowed = [_values(field, meaning) for field, meaning in zip(fields, _FIELDS, strict=True)]
    schedule = Schedule(*allowed)
    if not any(day <= _LONGEST[month - 1] for month in schedule.months for day in schedule.days):
        day, month = min(schedule.days), _MONTH_NAMES[min(schedule.months) - 1]
        raise ValueError(f"its time never comes: there is no {day} {month}; choose another day or month")
    return schedule


def _values(field: str, meaning: tuple[str, str, int, int]) -> frozenset[int]:
    # Imported here: it takes a quarter of a second, which `--help` and shell completion need not pay.
    from celery.schedules import ParseException, crontab_parser

    name, bounds, size, first = meaning
    names = _MONTHS if name == "month" else _DAYS if name == "day of week" else []
    word = "|".join([r"\d{1,2}", *names])
    part = rf"(?:\*|(?:{word})(?:-(?:{word}))?)(?:/\d{{1,2}})?"
    # Checked first, because Celery's own parser ignores what follows a match and takes `mon` for a minute.
    if not re.fullmatch(rf"{part}(?:,{part})*", field):
        raise ValueError(f"`{field}` is no {name}; use {bounds}, `*`, ranges as `1-5`, lists as `1,3`, steps as `*/2`")
    try:
        return frozenset(crontab_parser(size, first).parse(field))
    except (ParseException, ValueError) as error:
        raise ValueError(f"`{field}` is no {name}; use {bounds}") from error

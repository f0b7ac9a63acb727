"""Plans become beat's schedule: each in its own time zone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from celery.schedules import crontab

from tasks.plan import DUE
from tasks.settings import Settings

EXPIRES = timedelta(hours=20)
"""A start that no worker took for so long is dropped: the next one makes up for it."""


class LocalCrontab(crontab):
    """A crontab that is reckoned in a time zone of its own; Celery's are all in the app's. Can be pickled, as the
    persistent scheduler does."""

    def __init__(self, fields: str, zone: str) -> None:
        minute, hour, day, month, weekday = fields.split()
        super().__init__(minute, hour, day_of_month=day, month_of_year=month, day_of_week=weekday)
        self.fields, self.zone = fields, zone

    @property
    def tz(self) -> ZoneInfo:  # type: ignore[override]
        return ZoneInfo(self.zone)

    def now(self) -> datetime:
        return datetime.now(self.tz)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.fields, self.zone)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalCrontab) and (self.fields, self.zone) == (other.fields, other.zone)

    def __hash__(self) -> int:
        return hash((self.fields, self.zone))


def beat_schedule(settings: Settings, every: timedelta) -> dict[str, dict[str, Any]]:
    """An entry for each plan with a schedule, and one that sees to unfinished runs `every` so often."""
    entries: dict[str, dict[str, Any]] = {
        f"plan {name}": {
            "task": "plan.start",
            "schedule": LocalCrontab(plan.schedule, settings.zone_of(name).key),
            "kwargs": {"plan": name, "slot": DUE},
            "options": {"expires": EXPIRES.total_seconds()},
        }
        for name, plan in settings.plans.items()
        if plan.schedule
    }
    entries["tend runs"] = {"task": "plan.tend", "schedule": every, "options": {"expires": every.total_seconds()}}
    return entries

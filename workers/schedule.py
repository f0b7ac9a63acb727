"""Plans become beat's schedule: each in its own time zone, later by its jitter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from celery.beat import BeatLazyFunc
from celery.schedules import BaseSchedule, schedstate

from tasks import cron, due
from tasks.settings import Settings

PLAN = "plan "
"""What the name of each plan's entry begins with."""
_TENDING_EXPIRES = timedelta(hours=1)
"""So few of them wait for a worker that comes back, and so far may its clock be ahead of beat's."""


class PlanSchedule(BaseSchedule):
    """As `tasks.due` reckons, which the worker asks too: so both mean the same slot."""

    def __init__(self, fields: str, zone: ZoneInfo, delay: timedelta = timedelta()) -> None:
        super().__init__()
        self.fields, self.zone, self.delay = fields, zone, delay
        self._schedule = cron.parse(fields)

    def now(self) -> datetime:
        return datetime.now(self.zone)

    def is_due(self, last_run_at: datetime) -> Any:
        """Whether it was due since it was last sent, and in how many seconds it is due next."""
        now = self.now().astimezone(UTC)  # in a zone, a difference is one of clocks on the wall
        last = self._last_due(now)
        coming = due.next_due(self._schedule, self.zone, now - self.delay) + self.delay
        was_due = last is not None and last + self.delay > last_run_at
        return schedstate(was_due, (coming - now).total_seconds())

    def slot(self) -> str:
        """When it was last due, as beat's clock has it: the worker's may be behind."""
        last = self._last_due(self.now().astimezone(UTC))
        return due.slot_of(last) if last else ""

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        state = self.is_due(last_run_at)
        return timedelta(seconds=0 if state.is_due else state.next)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlanSchedule) and self._told() == other._told()

    def __hash__(self) -> int:
        return hash(self._told())

    def __repr__(self) -> str:
        return f"<plan: {self.fields} in {self.zone.key}, {self.delay} later>"

    def _last_due(self, now: datetime) -> datetime | None:
        return due.last_due(self._schedule, self.zone, now - self.delay)

    def _told(self) -> tuple[str, str, timedelta]:
        return self.fields, self.zone.key, self.delay


def beat_schedule(settings: Settings, every: timedelta) -> dict[str, dict[str, Any]]:
    """An entry for each plan with a schedule, and one that sees to unfinished runs `every` so often."""
    entries: dict[str, dict[str, Any]] = {}
    for name, plan in settings.plans.items():
        if plan.schedule:
            schedule = PlanSchedule(plan.schedule, settings.zone_of(name), delay_of(settings, name))
            kwargs = {"plan": name, "slot": BeatLazyFunc(schedule.slot)}
            entries[PLAN + name] = {"task": "plan.start", "schedule": schedule, "kwargs": kwargs}
    # Nobody asks what came of it, and it would be kept for a week.
    options = {"expires": max(every, _TENDING_EXPIRES).total_seconds(), "ignore_result": True}
    entries["tend runs"] = {"task": "plan.tend", "schedule": every, "options": options}
    return entries


def delay_of(settings: Settings, plan: str) -> timedelta:
    """How much later than due a plan starts here: its jitter, as drawn for this host and these destinations."""
    places = [place.model_dump_json() for place in settings.destinations.values()]
    return due.delay("\0".join([plan, settings.host, *places]), settings.plans[plan].jitter)

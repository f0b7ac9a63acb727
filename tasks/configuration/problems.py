"""What a valid backup.toml still does not say well: found without a network, so that `check` can tell it first."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tasks import cron
from tasks.clock import Change, changes
from tasks.due import next_due
from tasks.errors import SettingsError
from tasks.model import Model
from tasks.secret import Secret
from tasks.settings import Settings, SourceSettings
from tasks.sources.patterns import Patterns
from tasks.sources.source import Problem

_WHERE = ("kind", "path", "url", "endpoint", "bucket", "container", "prefix")
"""The options of destinations that say where they are; the others say how they are reached, and by whom."""
_AHEAD = timedelta(days=400)
"""A year of clock changes, wherever the zone has them."""


def problems(settings: Settings, now: datetime | None = None) -> list[Problem]:
    """Everything in the settings that would weaken the coming year's backups. Reads secrets, to see that they can be
    read; never tells them."""
    return [
        *_schedules(settings, now or datetime.now(UTC)),
        *_windows(settings, now or datetime.now(UTC)),
        *_unused(settings),
        *_nested(settings),
        *_same_place(settings),
        *_secrets(settings),
    ]


def _schedules(settings: Settings, now: datetime) -> Iterator[Problem]:
    for name, plan in settings.plans.items():
        if plan.schedule is None:
            continue
        schedule, zone = cron.parse(plan.schedule), settings.zone_of(name)
        if schedule.leap_days_only:
            yield Problem(
                f"plans.{name}.schedule falls on 29 February only, so it runs once in four years",
                "choose a day that every year has",
                fatal=False,
            )
        for change in changes(zone, now, now + _AHEAD):
            yield from _skipped(name, schedule, zone, change)


def _windows(settings: Settings, now: datetime) -> Iterator[Problem]:
    """Where a plan and the window of a source do not meet, the next time that it is due."""
    for name, plan in settings.plans.items():
        for source in settings.sources_of(name) if plan.schedule else ():
            window, zone = settings.window_of(source), ZoneInfo(settings.timezone)
            if window is None or plan.schedule is None:
                continue
            schedule = cron.parse(plan.schedule)
            first = next_due(schedule, settings.zone_of(name), now)
            opens, closes = window.opening(first, zone)
            where = f"sources.{source}.window {window}"
            if opens >= next_due(schedule, settings.zone_of(name), first):
                yield Problem(
                    f"{where} opens only after plans.{name} is due again, so that plan never captures it",
                    "choose a `schedule` or a `window` that meet",
                    fatal=True,
                )
            elif opens > first:
                hours = (opens - first).total_seconds() / 3600
                yield Problem(
                    f"{where} opens {hours:.2g} h after plans.{name} is due, so its runs wait so long",
                    "a plan of its own, due when the window opens, does not hold up the others' report",
                    fatal=False,
                )
            elif first + plan.jitter >= closes:
                yield Problem(
                    f"{where} may have closed when plans.{name} starts, by its jitter",
                    "choose less `jitter`, or a later end of the window",
                    fatal=False,
                )


def delays(schedule: cron.Schedule, change: Change) -> tuple[datetime, datetime] | None:
    """The first local time that a change of the clocks takes from a schedule, and when that run starts instead:
    as much later as the clocks jump. None where nothing is due, or the plan is due at the later time anyway."""
    for minute in range(int(change.skipped.total_seconds()) // 60):
        local = change.before + timedelta(minutes=minute)
        shifted = local + change.skipped
        if _due(schedule, local) and not _due(schedule, shifted):
            return local, shifted
    return None


def _skipped(plan: str, schedule: cron.Schedule, zone: ZoneInfo, change: Change) -> Iterator[Problem]:
    if late := delays(schedule, change):
        local, shifted = late
        yield Problem(
            f"plans.{plan}.schedule is due at {local:%H:%M}, which {local:%Y-%m-%d} in {zone} does not have, as the"
            f" clocks go from {change.before:%H:%M} to {change.after:%H:%M}; it starts at {shifted:%H:%M} that day",
            f"nothing is lost; a time that always exists, such as {_always(schedule, change):%H:%M}, avoids it",
            fatal=False,
        )


def _due(schedule: cron.Schedule, local: datetime) -> bool:
    return schedule.on(local.date()) and schedule.at(local.time())


def _always(schedule: cron.Schedule, change: Change) -> time:
    return change.after.time().replace(minute=min(schedule.minutes))


def _unused(settings: Settings) -> Iterator[Problem]:
    scheduled = [name for name, plan in settings.plans.items() if plan.schedule]
    if not scheduled:
        yield Problem(
            "no plan has a schedule, so nothing is backed up by itself",
            "add `[plans.nightly]` with a `schedule`, or start plans by hand",
            fatal=False,
        )
    covered = {source for plan in scheduled for source in settings.sources_of(plan)}
    for source in settings.sources if scheduled else ():
        if source not in covered:
            yield Problem(
                f"sources.{source} is in no plan that has a schedule, so it is never backed up by itself",
                f"add `{source}` to the `sources` of a plan",
                fatal=False,
            )
    used = {destination for source in settings.sources for destination in settings.destinations_of(source)}
    for destination in settings.destinations:
        if destination not in used:
            yield Problem(
                f"destinations.{destination} is used by no source",
                "add it to the `destinations` of a source, or remove it",
                fatal=False,
            )


def _nested(settings: Settings) -> Iterator[Problem]:
    """What this program writes must not lie inside what it backs up: every night would back up the night before."""
    own = {"state": settings.state, "keys.folder": settings.keys.folder}
    for name, destination in settings.destinations.items():
        own |= {f"destinations.{name}": path for path in _paths(destination)}
    for source, options in settings.sources.items():
        for root in _paths(options):
            for what, path in own.items():
                inside = _inside(path, root)
                if inside is not None and not _left_out(inside, options):
                    yield Problem(
                        f"sources.{source} holds `{path}`, which is {what}",
                        "move one of them, or name it in the source's `exclude`",
                        fatal=False,
                    )


def _inside(path: Path, root: Path) -> Path | None:
    """The path relative to a root that holds it, links resolved; None if it lies elsewhere."""
    real, top = Path(os.path.realpath(path)), Path(os.path.realpath(root))
    return real.relative_to(top) if real.is_relative_to(top) else None


def _left_out(inside: Path, options: SourceSettings) -> bool:
    patterns = Patterns(getattr(options, "exclude", ()))
    return any(patterns.match(os.fsencode(folder), folder=True) for folder in (inside, *inside.parents))


def _same_place(settings: Settings) -> Iterator[Problem]:
    seen: dict[tuple[str, ...], str] = {}
    for name, destination in settings.destinations.items():
        values = (getattr(destination, option, None) or "" for option in _WHERE)
        place = tuple(os.path.realpath(value) if isinstance(value, Path) else str(value) for value in values)
        first = seen.setdefault(place, name)
        if first != name:
            yield Problem(
                f"destinations.{name} is the same place as destinations.{first}",
                "a second copy protects only if it lies elsewhere",
                fatal=False,
            )


def _secrets(settings: Settings) -> Iterator[Problem]:
    for secret in sorted(set(_all(settings, Secret)), key=str):
        try:
            secret.read()
        except SettingsError as error:
            yield Problem(str(error), "provide it on every host that needs it", fatal=False)
            continue
        if secret.file and stat.S_IMODE(secret.file.expanduser().stat().st_mode) & 0o007:
            yield Problem(f"other users can read the secret file `{secret.file}`", "chmod 600 it", fatal=False)


def _paths(options: Model) -> Iterator[Path]:
    return _all(options, Path)


def _all(value: Any, kind: type[Any]) -> Iterator[Any]:
    """Every value of a type, wherever in the settings."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, Model):
        for name in type(value).model_fields:
            yield from _all(getattr(value, name), kind)
    elif isinstance(value, (dict, tuple, list, frozenset)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _all(inner, kind)

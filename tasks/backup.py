"""Capture a source into the spool: one task for each kind of source, made from the table of sources."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from celery import Task, shared_task

from tasks import cron
from tasks.asked import QUEUE, RunId, checked, is_asked
from tasks.capture import blank_part, capture, capture_part, parts_of
from tasks.division import Division
from tasks.due import is_slot, next_due
from tasks.errors import BackupError, NotFound, NotYet, WindowClosed
from tasks.installation import Installation, current
from tasks.outcome import Outcome
from tasks.progress import Progress
from tasks.record import Run, step_name
from tasks.sharing import is_decided, share
from tasks.sources.kinds import SOURCES
from tasks.step import Work, run_step


def task_of(kind: str) -> Task[Any, Any]:
    """The task that captures sources of one kind."""
    part_task = _part_task_of(kind)

    @shared_task(name=f"backup.{kind}", bind=True, max_retries=None, throws=(BackupError,))
    @checked
    def backup(self: Task[Any, Any], *, source: str, run: RunId = "") -> dict[str, Any]:
        """Asked for by another application, it begins a run of that source alone; within a run it captures."""
        if is_asked(self):
            _check_kind(current(), source, kind)
            raise self.replace(self.app.signature("plan.start", kwargs={"sources": [source], "run": run}, queue=QUEUE))

        def work(installation: Installation, progress: Progress) -> Outcome:
            _check_kind(installation, source, kind)
            about = installation.record.run(run)
            if about is None:
                raise NotFound(f"there is no run `{run}` in the record: send `backup.{kind}` to the queue `{QUEUE}`")
            if not installation.spool.sealed(source, run) and not parts_of(installation, source, run).division():
                await_window(installation, source, about, installation.record.now())

            def share_parts(division: Division) -> None:
                blanks = [blank_part(source, run, str(number)) for number in division.numbers]
                share(self, part_task, blanks, _part_work, progress=progress)

            return capture(installation, source, about, progress=progress, sharing=share_parts)

        return run_step(self, Outcome("backup", source, run=run), None, work)

    return backup


def _part_task_of(kind: str) -> Task[Any, Any]:
    @shared_task(name=f"backup.{kind}.part", bind=True, max_retries=None)
    def part(self: Task[Any, Any], *, source: str, run: str, number: str) -> dict[str, Any]:
        """One part of a source that was divided; sent by the task that divided it, for whoever is free."""
        blank = blank_part(source, run, number)
        return run_step(self, blank, None, _part_work(blank))

    return part


def _part_work(blank: Outcome) -> Work:
    def work(installation: Installation, progress: Progress) -> Outcome:
        about = installation.record.run(blank.run)
        if about is None or is_decided(blank):
            return replace(blank, state="skipped")
        return capture_part(installation, blank.source, about, blank.part, progress=progress)

    return work


def _check_kind(installation: Installation, source: str, kind: str) -> None:
    installation.source(source)
    configured = installation.settings.sources[source].kind
    if configured != kind:
        raise NotFound(
            f"the source `{source}` is of kind `{configured}`: send `backup.{configured}`, not `backup.{kind}`"
        )


def await_window(installation: Installation, source: str, run: Run, now: datetime) -> None:
    """A source with a window is begun in the one that was open when its run began, or the next: raises `NotYet` before,
    and `WindowClosed` after, or where the plan is due again before it opens. A run by hand needs no window."""
    settings = installation.settings
    window, plan = settings.window_of(source), settings.plans.get(run.plan)
    if window is None or not is_slot(run.slot):
        return
    zone = ZoneInfo(settings.timezone)
    opens, closes = window.opening(run.started, zone)
    if plan and plan.schedule:
        again = next_due(cron.parse(plan.schedule), settings.zone_of(run.plan), run.started)
        if again <= opens:
            raise WindowClosed(
                f"its window {window} opens at {_clock(opens, zone)}, and the plan `{run.plan}` is due again at"
                f" {_clock(again, zone)}: choose a schedule or a `window` that meet"
            )
    if now < opens:
        raise NotYet(f"its window {window} opens at {_clock(opens, zone)}", (opens - now).total_seconds())
    if now >= closes:
        noted = installation.record.notes(run.id).get(step_name("backup", source), "")
        waited = f"; it waited: {noted}" if noted and str(window) not in noted else ""
        raise WindowClosed(f"its window {window} had closed before it could be begun{waited}")


def _clock(instant: datetime, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M}"


BACKUPS: dict[str, Task[Any, Any]] = {kind: task_of(kind) for kind in SOURCES}

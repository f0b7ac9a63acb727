"""Capture a source into the spool: one task for each kind of source, made from the table of sources."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from celery import Task, shared_task

from tasks import cron
from tasks.ahead import Ahead
from tasks.asked import QUEUE, RunId, checked, is_asked
from tasks.destinations import Destination
from tasks.due import is_slot, next_due
from tasks.errors import BackupError, NotFound, NotYet, Refused, SettingsError, Unavailable, WindowClosed
from tasks.installation import Installation, current
from tasks.outcome import Outcome
from tasks.progress import Progress, unheard
from tasks.record import Run, step_name
from tasks.repository import About, Repository, Snapshot, snapshot_id
from tasks.sources import SOURCES
from tasks.sources.source import Rooted
from tasks.step import run_step


def capture(
    installation: Installation,
    source: str,
    run: Run,
    *,
    now: datetime | None = None,
    progress: Progress = unheard,
) -> Outcome:
    """Capture a source into this host's spool, deduplicated against its first destination that can be reached.

    The run's id and start make the snapshot's id, so a capture for the same run is made once, and a second call
    returns what the first came to. Raises `SourceError`, `Unavailable`, `NoSpace`.
    """
    spool = installation.spool
    installation.tidy_spool()
    if sealed := spool.sealed(source, run.id):
        return Outcome.from_json(sealed.outcome)
    reference, repository = _reference(installation, source)
    name = snapshot_id(source, run.id, run.started)
    try:
        return _outcome(repository.snapshot(name))
    except NotFound:
        pass
    settings, made = installation.settings, installation.source(source)
    about = About(
        id=name,
        source=source,
        kind=settings.sources[source].kind,
        run=run.id,
        plan=run.plan,
        host=settings.host,
        started=now or datetime.now(UTC),
        allow_incomplete=settings.sources[source].allow_incomplete,
        roots=made.roots() if isinstance(made, Rooted) else {},
    )
    with spool.attempt(source, run.id) as attempt:
        scratch = installation.spool.scratch(attempt)
        with sending_ahead(installation, source, attempt, reference) as into:
            snapshot = repository.save(made.capture(), about, into, scratch=scratch, progress=progress)
        outcome = _outcome(snapshot)
        outcome = replace(outcome, figures=outcome.figures | into.figures())
        sealed = spool.seal(attempt, snapshot.id, reference, outcome.to_json())
    return Outcome.from_json(sealed.outcome)


def sending_ahead(installation: Installation, source: str, attempt: Path, reference: str) -> Ahead:
    """The destination for a capture's packs: its attempt's folder, which sends them on when the spool fills."""
    others = [name for name in installation.destinations_of(source) if name != reference]

    def opened(name: str) -> Destination:
        return installation.repository(source, name, create=True).destination

    into = installation.spool_destination(source, attempt)
    return Ahead(into, installation.spool, installation.settings.spool_quota, [reference, *others], open=opened)


def _reference(installation: Installation, source: str) -> tuple[str, Repository]:
    names = installation.destinations_of(source)
    missed: list[str] = []
    refused: Refused | SettingsError | None = None
    for name in names:
        try:
            return name, installation.repository(source, name, create=True)
        except Unavailable as error:
            missed.append(f"`{name}`: {error}")
        except (Refused, SettingsError) as error:
            # Such as one that was emptied, or whose secret is not there: the others go on, and the upload to this one
            # tells what is wrong.
            refused = refused or error
    if refused and not missed:
        raise refused
    raise Unavailable(f"no destination of `{source}` can be reached; {'; '.join(missed)}")


def _outcome(snapshot: Snapshot) -> Outcome:
    grave = sorted(snapshot.flaws, key=lambda flaw: flaw.allowed)
    return Outcome(
        verb="backup",
        source=snapshot.source,
        run=snapshot.run,
        snapshot=snapshot.id,
        state="done" if snapshot.complete else "incomplete",
        figures=dict(snapshot.figures),
        flaws=tuple(_in_words(flaw.path, flaw.what, flaw.why) for flaw in grave[:100] if not flaw.allowed),
    )


def _in_words(path: str, what: str, why: str) -> str:
    shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return f"{shown} is {what}: {why}" if why else f"{shown} is {what}"


def task_of(kind: str) -> Task[Any, Any]:
    """The task that captures sources of one kind."""

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
            if not installation.spool.sealed(source, run):
                await_window(installation, source, about, datetime.now(UTC))
            return capture(installation, source, about, progress=progress)

        return run_step(self, Outcome("backup", source, run=run), None, work)

    return backup


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


def _check_kind(installation: Installation, source: str, kind: str) -> None:
    installation.source(source)
    configured = installation.settings.sources[source].kind
    if configured != kind:
        raise NotFound(
            f"the source `{source}` is of kind `{configured}`: send `backup.{configured}`, not `backup.{kind}`"
        )


BACKUPS: dict[str, Task[Any, Any]] = {kind: task_of(kind) for kind in SOURCES}

"""A plan becomes a night: the only thing that beat calls. It records a run and sends its messages.

Sending anything twice is harmless: a step has one outcome, a run one report.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import structlog
from celery import Task, chain, group, shared_task
from celery.canvas import Signature
from pydantic import AfterValidator

from tasks import cron, due
from tasks.asked import RunId, checked
from tasks.backup import BACKUPS
from tasks.drill import drill_task
from tasks.due import is_slot, next_due, slot_of
from tasks.errors import BackupError, NotFound, NotYet, Refused, Unavailable
from tasks.installation import Installation, current
from tasks.prune import prune_task
from tasks.record import Run, Step, step_name
from tasks.report import recall
from tasks.run_keys import KEPT
from tasks.runs import close, close_task, join, join_task
from tasks.settings import Settings
from tasks.upload import upload_task
from tasks.verify import verify_task

_DUE = "due"
"""What a beat of an earlier build says instead of the time that it means."""

_MOST_AHEAD = timedelta(days=1)
"""So far ahead a clock is believed; one that is further is waited for up to the next time."""

ON_TIME = timedelta(minutes=10)
"""What starts so much later than it was to start was not missed: beat or a worker was started anew."""

_AFTER = {"upload": upload_task, "verify": verify_task, "drill": drill_task, "prune": prune_task}
"""What comes after a capture, at each destination, in this order."""

_log = structlog.get_logger(__name__)


def begin(
    installation: Installation,
    plan: str = "",
    *,
    sources: Sequence[str] = (),
    slot: str = "",
    name: str = "",
    now: datetime | None = None,
) -> Run:
    """Record a run of a plan, or of some sources of it (without a plan: of any, or of all), unless the plan has one
    for that slot or it has that `name`, its id, already; and send its messages unless they are sent. Raises `NotFound`
    for unknown names, `Refused` where the run of that name is another."""
    now = now or installation.record.now()
    settings = installation.settings
    chosen = _sources(settings, plan, sources)
    steps = [step for source in chosen for step in _steps(settings, source)]
    own = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    run = installation.record.begin(Run(name or own, plan, slot, now, tuple(steps)))
    if name and (run.plan, _captured(run.steps)) != (plan, _captured(steps)):
        of = f"the plan `{run.plan}`" if run.plan else "sources by name"
        raise Refused(
            f"the run `{name}` was begun {run.started:%Y-%m-%d %H:%M} UTC, of {of}: {', '.join(_captured(run.steps))};"
            " choose another id for this one"
        )
    if not installation.record.is_sent(run.id):
        send(installation, run)
        installation.record.mark_sent(run.id)
    return run


def begin_due(installation: Installation, plan: str, now: datetime | None = None, *, meant: str = "") -> Run | None:
    """Begin the run of the last time that a plan was due, if neither the record nor a report on this host knows of one:
    so what is sent twice, or by a second beat, makes no second run, and a night missed three times is made up for once.
    None where that time was missed and is not made up for, as the plan is due again soon; a run's record is not kept
    for ever, so neither is what is older than that. Raises `NotFound`; and in the end `NotYet`, until the plan is due
    next, where the slot that was `meant` is to come, as the clock of who sent this is ahead."""
    now = now or installation.record.now()
    _sources(installation.settings, plan, ())
    last, schedule = last_due(installation.settings, plan, now), installation.settings.plans[plan].schedule
    if last is None or schedule is None:
        raise NotFound(f"the plan `{plan}` was never due: it has no schedule")
    again = next_due(cron.parse(schedule), installation.settings.zone_of(plan), now)
    begun = _begin_slot(installation, plan, last, now=now, again=again)
    if slot_of(last) < meant <= slot_of(max(again, now + _MOST_AHEAD)):
        raise NotYet(f"the plan `{plan}` is due at {again:%Y-%m-%d %H:%M} UTC", (again - now).total_seconds())
    return begun


def _begin_slot(installation: Installation, plan: str, last: datetime, *, now: datetime, again: datetime) -> Run | None:
    options, slot = installation.settings.plans[plan], slot_of(last)
    known = installation.record.has_slot(plan, slot)
    if not known and (ended := recall(installation, plan, slot)):
        return ended
    is_missed = not known and now - last > ON_TIME + options.jitter
    if is_missed and (again - now < options.catch_up or now - last > KEPT):
        return None
    return begin(installation, plan, slot=slot, now=now)


def last_due(settings: Settings, plan: str, now: datetime) -> datetime | None:
    """When a plan's schedule last had it run, in UTC, without its jitter; None without a schedule."""
    text = settings.plans[plan].schedule
    return due.last_due(cron.parse(text), settings.zone_of(plan), now) if text else None


def last_expected(settings: Settings, plan: str, source: str, now: datetime) -> datetime | None:
    """The last time that a plan was due from which a source must have been begun by `now`: its jitter is over, and its
    window has opened."""
    window, zone = settings.window_of(source), ZoneInfo(settings.timezone)
    found = last_due(settings, plan, now)
    while found is not None:
        start = found + settings.plans[plan].jitter
        if (window.opening(start, zone).opens if window else start) <= now:
            return found
        found = last_due(settings, plan, found - timedelta(microseconds=1))
    return None


def _sources(settings: Settings, plan: str, sources: Sequence[str]) -> tuple[str, ...]:
    if plan and plan not in settings.plans:
        raise NotFound(f"there is no plan `{plan}`; known: {', '.join(settings.plans) or 'none'}")
    known = settings.sources_of(plan) if plan else tuple(settings.sources)
    for source in sources:
        if source not in known:
            of = f" of the plan `{plan}`" if plan else ""
            raise NotFound(f"there is no source `{source}`{of}; known: {', '.join(known) or 'none'}")
    return tuple(dict.fromkeys(sources)) or known


def _steps(settings: Settings, source: str) -> list[str]:
    verbs = [verb for verb in _AFTER if verb != "drill" or settings.sources[source].drill]
    after = [step_name(verb, source, to) for to in settings.destinations_of(source) for verb in verbs]
    return [step_name("backup", source), *after]


def _captured(steps: Sequence[str]) -> list[str]:
    return sorted({Step.of(step).source for step in steps})


def step_before(step: str, run: Run) -> str:
    """The one whose outcome a step of a run is given; empty for the first."""
    verb, source, destination = Step.of(step)
    if verb == "backup":
        return ""
    verbs = _verbs(run, source, destination)
    place = verbs.index(verb)
    return step_name(verbs[place - 1], source, destination) if place else step_name("backup", source)


def _verbs(run: Run, source: str, destination: str) -> list[str]:
    """Those of a run at a destination, in order: whether it drills was settled when it began."""
    return [verb for verb in _AFTER if step_name(verb, source, destination) in run.steps]


def send(installation: Installation, run: Run, only: Sequence[str] = ()) -> None:
    """The messages of what has no outcome yet, or `only` of some sources; without any such, of the report."""
    record = installation.record
    sources = dict.fromkeys(Step.of(step).source for step in record.missing(run))
    for source in sources:
        if not only or source in only:
            send_step(installation, run, step_name("backup", source))
    if not sources:
        join(record, run.id)


def send_step(installation: Installation, run: Run, step: str) -> None:
    """The message of a step, after which those of the steps that follow it come by themselves."""
    verb, source, destination = Step.of(step)
    previous = installation.record.outcome(run.id, step_before(step, run)) if destination else None
    try:
        if previous:
            installation.destinations_of(source)
            _branch(run, source, destination, verb, previous).apply_async()
        else:
            _canvas(installation, run, source).apply_async()
    except NotFound as error:  # the configuration has changed since the run began
        steps = [step for step in run.steps if Step.of(step).source == source]
        close(installation.record, run.id, steps, str(error))


def _canvas(installation: Installation, run: Run, source: str) -> Signature[Any]:
    """backup → upload → verify (→ drill) → prune → join, the part from upload on once for each destination of the
    source."""
    installation.source(source)
    steps = [step for step in run.steps if Step.of(step).source == source]
    kind = installation.settings.sources[source].kind
    branches = [_branch(run, source, to) for to in dict.fromkeys(Step.of(step).destination for step in steps) if to]
    lost = close_task.si(run=run.id, steps=steps)
    backup = BACKUPS[kind].si(source=source, run=run.id).on_error(lost)
    return chain(backup, branches[0] if len(branches) == 1 else group(branches))


def _branch(
    run: Run, source: str, destination: str, first: str = "upload", *previous: dict[str, Any]
) -> Signature[Any]:
    """The steps of a destination from the `first` on, whose `previous` outcome the chain brings, or is given."""
    verbs = _verbs(run, source, destination)
    verbs = verbs[verbs.index(first) :]
    steps = [step_name(verb, source, destination) for verb in verbs]
    links = [
        _AFTER[verb]
        .s(*(previous if verb == first else ()), source=source, destination=destination, run=run.id)
        .on_error(close_task.si(run=run.id, steps=steps[place:]))
        for place, verb in enumerate(verbs)
    ]
    return chain(*links, join_task.si(run=run.id))


def _slot(value: str) -> str:
    if value not in ("", _DUE) and not is_slot(value):
        raise ValueError("is beat's: a time such as `20261130T0130Z`")
    return value


@shared_task(name="plan.start", bind=True, max_retries=20, throws=(BackupError,))
@checked
def start(
    self: Task[Any, Any],
    *,
    plan: str = "",
    sources: tuple[str, ...] = (),
    run: RunId = "",
    slot: Annotated[str, AfterValidator(_slot)] = "",
) -> dict[str, Any]:
    """Start a run, once: of the id `run`, or else for this message, however often it is delivered. `slot` is beat's:
    when the plan was last due by its clock."""
    try:
        if slot:
            begun = begin_due(current(), plan, meant=slot)
        else:
            begun = begin(current(), plan, sources=sources, slot="" if run else str(self.request.id), name=run)
    except Unavailable as error:
        raise self.retry(countdown=5, exc=error) from error
    except NotYet as error:
        _log.warning("the clock of beat's host is ahead", plan=plan, waits=str(error))
        raise self.retry(countdown=error.seconds, exc=error) from error
    if begun is None:
        _log.warning("missed", plan=plan, advice="it is due again within its `catch_up`, so this is not made up for")
        return {}
    _log.info("run started", run=begun.id, plan=begun.plan, slot=begun.slot, steps=len(begun.steps))
    return begun.to_json()

"""A plan becomes a night: the only thing that beat calls. It records a run and sends its messages.

Sending anything twice is harmless: a step has one outcome, a run one report.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import redis
import structlog
from celery import Celery, Task, chain, group, shared_task
from celery.canvas import Signature
from celery.exceptions import OperationalError

from tasks import clock, cron
from tasks.backup import BACKUPS
from tasks.errors import BackupError, NotFound, Unavailable
from tasks.installation import Installation, current
from tasks.prune import prune_task
from tasks.record import Run, step_name
from tasks.runs import close, close_task, join, join_task
from tasks.settings import Settings
from tasks.upload import upload_task
from tasks.verify import verify_task

DUE = "due"
"""As a slot: the last time that the plan was due. So a message that comes twice, or a second beat, makes no second run,
and a night missed three times is made up for once."""

OVERDUE = timedelta(hours=6)
"""When no run gave a sign of life for so long, the unfinished ones are closed: what has no outcome has failed."""

_log = structlog.get_logger(__name__)


def begin(
    installation: Installation,
    plan: str = "",
    *,
    sources: Sequence[str] = (),
    slot: str = "",
    now: datetime | None = None,
) -> Run:
    """Record a run of a plan, or of some sources of it (without a plan: of any, or of all), unless the plan has one
    for that slot, and send its messages unless they are sent. Raises `NotFound` for unknown names."""
    now = now or datetime.now(UTC)
    settings = installation.settings
    chosen = _sources(settings, plan, sources)
    if slot == DUE:
        due = last_due(settings, plan, now)
        if due is None:
            raise NotFound(f"the plan `{plan}` was never due: it has no schedule")
        slot = f"{due:%Y%m%dT%H%MZ}"
    name = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    steps = [step for source in chosen for step in _steps(source, installation.destinations_of(source))]
    run = installation.record.begin(Run(name, plan, slot, now, tuple(steps)))
    if not installation.record.is_sent(run.id):
        _send(installation, run)
        installation.record.mark_sent(run.id)
    return run


def last_due(settings: Settings, plan: str, now: datetime) -> datetime | None:
    """When a plan's schedule last had it run, in UTC; None without a schedule. A time that the clocks skip counts as
    the moment after, and of one that comes twice the first, as in Celery's own reckoning."""
    text = settings.plans[plan].schedule
    if text is None:
        return None
    schedule, zone = cron.parse(text), settings.zone_of(plan)
    today = now.astimezone(zone).date()
    for back in range(-1, 8 * 366):
        day = today - timedelta(days=back)
        if schedule.on(day):
            times = (time(hour, minute) for hour in sorted(schedule.hours) for minute in sorted(schedule.minutes))
            past = [at for at in (_instant(datetime.combine(day, each), zone) for each in times) if at <= now]
            if past:
                return max(past)
    return None


def _instant(local: datetime, zone: ZoneInfo) -> datetime:
    shown = clock.occurrences(local, zone)
    return shown[0] if shown else local.replace(tzinfo=zone).astimezone(UTC)


def _sources(settings: Settings, plan: str, sources: Sequence[str]) -> tuple[str, ...]:
    if plan and plan not in settings.plans:
        raise NotFound(f"there is no plan `{plan}`; known: {', '.join(settings.plans) or 'none'}")
    known = settings.sources_of(plan) if plan else tuple(settings.sources)
    for source in sources:
        if source not in known:
            of = f" of the plan `{plan}`" if plan else ""
            raise NotFound(f"there is no source `{source}`{of}; known: {', '.join(known) or 'none'}")
    return tuple(dict.fromkeys(sources)) or known


def _steps(source: str, destinations: Sequence[str]) -> list[str]:
    after = [step_name(verb, source, to) for to in destinations for verb in ("upload", "verify", "prune")]
    return [step_name("backup", source), *after]


def tend(installation: Installation, now: datetime, silence: timedelta) -> dict[str, str]:
    """See to the runs that have no report. A run that gave no sign of life for `silence` gets its messages again, and
    again after twice that time: a broker that was killed, or whose worker was killed in the moment between taking a
    message and noting so, has lost some. For the steps that are done, or under way, that changes nothing.
    Returns the runs that were *resumed* or *closed*.
    """
    record = installation.record
    open_runs = [run for run in record.runs() if not record.has_report(run.id)]
    signs = {run.id: record.alive(run.id) or run.started for run in open_runs}
    seen_to: dict[str, str] = {}
    for run in open_runs:
        if now - max(signs.values()) > OVERDUE:
            hours = OVERDUE.total_seconds() / 3600
            close(record, run.id, run.steps, f"no sign of life for {hours:.0f} h: is there a worker for its pool?")
            seen_to[run.id] = "closed"
        elif now - signs[run.id] >= silence * 2 ** record.resumed(run.id):
            record.count_resumption(run.id)
            _send(installation, run)
            seen_to[run.id] = "resumed"
    return seen_to


def note_unserved(app: Celery, installation: Installation, run: Run, timeout: float = 3.0) -> list[str]:
    """Note on each step that waits for its queue, and that no worker serves it, where none answers that does. Returns
    these queues. The command `run` shows the notes to whoever waits; the report has them of steps that were closed."""
    record, served = installation.record, _served(app, timeout)
    outcomes, found = record.outcomes(run.id), list[str]()
    for step in run.steps:
        before = _step_before(step)
        if step in outcomes or (before and before not in outcomes) or record.is_leased(run.id, step):
            continue
        verb, source = step.split("/")[:2]
        if source not in installation.settings.sources:
            continue  # the configuration has changed since
        task = BACKUPS[installation.settings.sources[source].kind].name if verb == "backup" else verb
        queue = str(app.amqp.router.route({}, task, (outcomes[before],) if before else ())["queue"].name)
        if queue not in served:
            record.note(run.id, step, f"no worker serves the queue `{queue}`: `celery -A workers worker -Q {queue}`")
            found.append(queue)
    return list(dict.fromkeys(found))


def _served(app: Celery, timeout: float) -> set[str]:
    try:
        answers = app.control.inspect(timeout=timeout).active_queues() or {}
    except (OperationalError, redis.RedisError) as error:
        raise Unavailable("the broker does not answer; is its Redis running and can this host reach it?") from error
    return {queue["name"] for queues in answers.values() for queue in queues}


def _step_before(step: str) -> str:
    """The one whose outcome a step is given; empty for the first."""
    verb, source, destination = (*step.split("/"), "")[:3]
    before = {"upload": "backup", "verify": "upload", "prune": "verify"}.get(verb, "")
    return step_name(before, source, "" if before == "backup" else destination) if before else ""


def _send(installation: Installation, run: Run) -> None:
    """The messages of what has no outcome yet; without any such, of the report."""
    record = installation.record
    sources = dict.fromkeys(step.split("/")[1] for step in record.missing(run))
    for source in sources:
        try:
            _canvas(installation, run.id, source).apply_async()
        except NotFound as error:  # the configuration has changed since the run began
            close(record, run.id, [step for step in run.steps if step.split("/")[1] == source], str(error))
    if not sources:
        join(record, run.id)


def _canvas(installation: Installation, run: str, source: str) -> Signature[Any]:
    """backup → upload → verify → prune → join, the part from upload on once for each destination of the source."""
    destinations = installation.destinations_of(source)
    kind = installation.settings.sources[source].kind
    branches = [_branch(run, source, destination) for destination in destinations]
    lost = close_task.si(run=run, steps=_steps(source, destinations))
    backup = BACKUPS[kind].si(source=source, run=run).on_error(lost)
    return chain(backup, branches[0] if len(branches) == 1 else group(branches))


def _branch(run: str, source: str, destination: str) -> Signature[Any]:
    tasks = {"upload": upload_task, "verify": verify_task, "prune": prune_task}
    steps = [step_name(verb, source, destination) for verb in tasks]
    links = [
        task.s(source=source, destination=destination, run=run).on_error(close_task.si(run=run, steps=steps[place:]))
        for place, task in enumerate(tasks.values())
    ]
    return chain(*links, join_task.si(run=run))


@shared_task(name="plan.start", bind=True, max_retries=20, throws=(BackupError,))
def start(self: Task[Any, Any], *, plan: str = "", slot: str = "", sources: Sequence[str] = ()) -> dict[str, Any]:
    """Start a run: `slot` is any text that makes it unique for its plan, such as the caller's own id."""
    try:
        run = begin(current(), plan, sources=sources, slot=slot or str(self.request.id))
    except Unavailable as error:
        raise self.retry(countdown=5, exc=error) from error
    _log.info("run started", run=run.id, plan=run.plan, slot=run.slot, steps=len(run.steps))
    return run.to_json()


@shared_task(name="plan.tend", bind=True, max_retries=0)
def tend_task(self: Task[Any, Any]) -> None:
    installation = current()
    visibility = float(self.app.conf.broker_transport_options["visibility_timeout"])
    for run, how in tend(installation, datetime.now(UTC), timedelta(seconds=2 * visibility)).items():
        about = installation.record.run(run) if how == "resumed" else None
        queues = note_unserved(self.app, installation, about) if about else []
        _log.warning(f"run {how}", run=run, **({"unserved": ", ".join(queues)} if queues else {}))

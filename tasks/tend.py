"""What beat has done every few seconds: runs whose messages or workers were lost go on, and what will never be done is
closed, so that no run waits in silence.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from celery import Celery, Task, shared_task
from celery.exceptions import OperationalError

from tasks.backup import BACKUPS
from tasks.errors import Unavailable
from tasks.installation import Installation, current
from tasks.plan import send, send_step, step_before
from tasks.record import Life, Record, Run, Step
from tasks.run_keys import reaching
from tasks.runs import close

OVERDUE = timedelta(hours=6)
"""When no run gave a sign of life for so long, the unfinished ones are closed: what has no outcome has failed."""

RETURN = timedelta(minutes=30)
"""How long after all were away for so long, as a host that had no power or slept, they are given to go on."""
_LONGEST_AWAY = timedelta(days=1)
"""But not after so long: the plan was due again meanwhile."""

HOST_GONE = timedelta(seconds=float(os.environ.get("GEOMETRA_BACKUP_HOST_GONE_SECONDS", "3600")))
"""When no worker served a host's own queue for so long, what waits in it has failed. The next run does without."""

_CLOCKS_DIFFER = timedelta(hours=1)
_ASK_SECONDS = 3.0

_log = structlog.get_logger(__name__)


def tend(installation: Installation, now: datetime, silence: timedelta, patience: timedelta = RETURN) -> dict[str, str]:
    """See to the runs that have no report. A step whose holder is gone gets its message again at once. A source that
    gave no sign of life for `silence` gets its messages again, and again after twice that time: a broker that was
    killed, or whose worker was killed in the moment between taking a message and noting so, has lost some. For the
    steps that are done, or under way, that changes nothing. Where all were silent for `OVERDUE`, they are closed,
    unless one goes on within `patience`. Returns the runs that were *resumed* or *closed*.
    """
    record = installation.record
    open_runs = record.unfinished()
    lives = {run.id: _life(record, run, now) for run in open_runs}
    last_sign = max((lives[run.id].signs.get("", run.started) for run in open_runs), default=now)
    seen_to: dict[str, str] = {}
    for run in open_runs:
        if _is_over(record, run, last_sign, now=now, patience=patience):
            close(record, run.id, run.steps, f"no sign of life for {_hours(OVERDUE)}: is there a worker for its pool?")
            seen_to[run.id] = "closed"
            continue
        silent = _silent(record, run, lives[run.id], now=now, silence=silence)
        if _resume(installation, run, silent):
            seen_to[run.id] = "resumed"
    return seen_to


def _is_over(record: Record, run: Run, last_sign: datetime, *, now: datetime, patience: timedelta) -> bool:
    """Whether nobody will go on with it, as nobody did while there was someone to see that."""
    seen = "overdue"
    if now - last_sign <= OVERDUE:
        record.forget_time(run.id, seen)
        return False
    since = record.first_time(run.id, seen, now.timestamp())
    return now - last_sign > _LONGEST_AWAY or now.timestamp() - since >= patience.total_seconds()


def _life(record: Record, run: Run, now: datetime) -> Life:
    """Of all its sources. What a clock noted that has been put back since would not be silent for years: of a run it
    counts from now on, of a source as the run's."""
    life, latest = record.life(run.id), now + _CLOCKS_DIFFER
    if life.signs.get("", run.started) > latest:
        record.touch(run.id, now)
        life = record.life(run.id)
    whole = life.signs.get("", run.started)
    signs = {source: life.signs.get(source, run.started) for source in ("", *_sources(run.steps))}
    return Life({source: whole if sign > latest else sign for source, sign in signs.items()}, life.resumed)


def _sources(steps: Sequence[str]) -> dict[str, None]:
    return dict.fromkeys(Step.of(step).source for step in steps)


def _resume(installation: Installation, run: Run, silent: Sequence[str]) -> bool:
    """Send again what nobody holds, and all that `silent` sources wait for. True if there was any."""
    record = installation.record
    missing, losses = record.missing(run), record.losses(run.id)
    abandoned = [
        step
        for step in missing
        if losses.get(step, 0) > 0 and not record.is_leased(run.id, step) and Step.of(step).source not in silent
        # Once for each loss: the message may have to wait its turn.
        if record.is_first(run.id, f"{step} loss {losses[step]}")
    ]
    for step in abandoned:
        send_step(installation, run, step)
    for source in silent:
        record.count_resumption(run.id, source)
    if silent:
        send(installation, run, silent)
    return bool(abandoned or silent)


def _silent(record: Record, run: Run, life: Life, *, now: datetime, silence: timedelta) -> list[str]:
    """The sources of a run, of those with unfinished steps, that have been silent for too long; if all are finished,
    an empty name for the run."""
    sources = _sources(record.missing(run)) or {"": None}
    signs = {source: life.signs.get(source, run.started) for source in sources}
    return [source for source in sources if now - signs[source] >= silence * 2 ** life.resumed.get(source, 0)]


def see_to_unserved(app: Celery, installation: Installation, now: datetime) -> dict[str, list[str]]:
    """Of each unfinished run the queues that its steps wait for and that no worker serves, as none answers that does:
    noted on these steps. The command `run` shows the notes to whoever waits; the report has them of steps that were
    closed. That is done after an hour to those that wait for one host alone, whose disk holds what they need, and
    after six to others.
    """
    record, found = installation.record, dict[str, list[str]]()
    open_runs = record.unfinished()
    waiting = {run.id: _waiting(app, installation, run) for run in open_runs}
    served = served_queues(app, _ASK_SECONDS) if any(waiting.values()) else set()
    for run in open_runs:
        for step, queue in waiting[run.id].items():
            if queue in served:
                record.forget_time(run.id, f"{step} unserved")
                continue
            if queue not in found.setdefault(run.id, []):
                found[run.id].append(queue)
            text = f"no worker serves the queue `{queue}`: `celery -A workers worker -Q {queue}`"
            record.note(run.id, step, text)
            since = record.first_time(run.id, f"{step} unserved", now.timestamp())
            patience = HOST_GONE if "." in queue else OVERDUE
            if now.timestamp() - since >= patience.total_seconds():
                after = [each for each in run.steps if _is_after(each, step)]
                close(record, run.id, after, f"nobody took it for {_hours(patience)}")
    return found


def _waiting(app: Celery, installation: Installation, run: Run) -> dict[str, str]:
    """The steps that wait for a worker to take them, and the queue of each."""
    record, waiting = installation.record, dict[str, str]()
    outcomes = record.outcomes(run.id)
    for step in run.steps:
        before = step_before(step, run)
        if step in outcomes or (before and before not in outcomes) or record.is_leased(run.id, step):
            continue
        verb, source, _ = Step.of(step)
        if source not in installation.settings.sources:
            continue  # the configuration has changed since
        task = BACKUPS[installation.settings.sources[source].kind].name if verb == "backup" else verb
        waiting[step] = str(app.amqp.router.route({}, task, (outcomes[before],) if before else ())["queue"].name)
    return waiting


def _is_after(step: str, first: str) -> bool:
    """Whether a step is `first`, or one that can't be done without it. In a run's order they follow it."""
    one, other, verbs = Step.of(step), Step.of(first), ("backup", "upload", "verify", "drill", "prune")
    if one.source != other.source or other.destination not in ("", one.destination):
        return False
    return verbs.index(one.verb) >= verbs.index(other.verb)


def _hours(time: timedelta) -> str:
    return f"{time.total_seconds() / 3600:.2g} h"


def served_queues(app: Celery, timeout: float) -> set[str]:
    """Those that a running worker consumes, asked of the workers themselves, of whom those count that answer within
    `timeout` seconds. Raises `Unavailable` where the broker does not answer."""
    try:
        with reaching():
            answers = app.control.inspect(timeout=timeout).active_queues() or {}
    except OperationalError as error:
        raise Unavailable("the broker does not answer; is its Redis running and can this host reach it?") from error
    return {queue["name"] for queues in answers.values() for queue in queues}


@shared_task(name="plan.tend", bind=True, max_retries=0)
def tend_task(self: Task[Any, Any]) -> None:
    installation = current()
    now = installation.record.now()
    visibility = float(self.app.conf.broker_transport_options["visibility_timeout"])
    seen_to = tend(installation, now, silence=timedelta(seconds=2 * visibility))
    # It takes seconds to ask, so not each time.
    ask = "closed" not in seen_to.values() and installation.record.is_turn("ask who serves", 1.5 * visibility)
    unserved = see_to_unserved(self.app, installation, now) if ask else {}
    for run in {**seen_to, **unserved}:
        queues = {"unserved": ", ".join(unserved[run])} if run in unserved else {}
        _log.warning(f"run {seen_to.get(run, 'waits')}", run=run, **queues)

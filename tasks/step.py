"""One step of a run, executed once whatever the broker delivers: the task's edge around a plain function.

A second delivery gets the recorded outcome, or waits while the first still works. Every error ends here, as an
outcome: nothing is raised into a chain but Celery's own retry.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

import structlog
from celery import Task
from celery.exceptions import OperationalError, Reject, Retry

from tasks.asked import QUEUE, is_asked
from tasks.errors import BackupError, NotYet, Refused, Unavailable
from tasks.installation import Installation, current
from tasks.lease import Lease, LeaseLost
from tasks.outcome import Failure, Outcome
from tasks.progress import Progress, Teller
from tasks.record import Record, step_name
from tasks.run_keys import reaching
from tasks.stopwatch import Stopwatch

LEASE_SECONDS = float(os.environ.get("GEOMETRA_BACKUP_LEASE_SECONDS", "20"))
"""How long after its worker was killed, with its host or for the second time, a step may be taken over."""
WAITS = int(os.environ.get("GEOMETRA_BACKUP_WAITS", "10"))
"""How often a step waits for something unavailable, before its failure is final: about 15 minutes in all."""
FIRST_WAIT = float(os.environ.get("GEOMETRA_BACKUP_WAIT_SECONDS", "4"))
LONGEST_WAIT = 30 * FIRST_WAIT
"""Seconds; each wait is twice the one before."""
LONGEST_SLEEP = 30.0
"""Seconds between two looks whether a source's window is open."""
LIVES = 3
"""How many workers a step may lose before it is given up as what kills them."""

_SHORTEST = 0.75
"""Of a wait: so much of it passes at least."""

Work = Callable[[Installation, Progress], Outcome]

_log = structlog.get_logger(__name__)


def run_step(
    task: Task[Any, Any],
    blank: Outcome,
    previous: dict[str, Any] | None,
    work: Work,
    *,
    anyway: Callable[[Record], bool] = lambda record: False,
) -> dict[str, Any]:
    """The recorded outcome of the step that `blank` names, after doing its work if nobody has; as JSON.

    `previous` is the outcome of the chain's step before, None if there is none; one that is not usable makes this step
    *skipped*, unless it is to be done `anyway`. Raises Celery's `Retry` where something is unavailable, or another
    worker is on it; `Refused` where another application sent it by the queue for requests.
    """
    if is_asked(task):
        raise Refused(f"`{task.name}` is no request that the queue `{QUEUE}` takes: tasks/REQUESTS.md has those")
    installation = current()
    record, run = installation.record, blank.run
    step = _name(blank)
    try:
        if known := record.outcome(run, step):
            return known
        if previous is not None and not Outcome.from_json(previous).usable and not anyway(record):
            return record.settle(run, step, replace(blank, state="skipped").to_json())
        # Another message of the step may have come first. A longer rest is left of a clock that has been put back.
        if 0 < (rest := record.put_off_until(run, step) - time.time()) <= LONGEST_WAIT:
            _again(task, rest)
        outcome = take_step(task, blank, work)
        if outcome is None:
            _again(task, LEASE_SECONDS / 3)
        return outcome
    except LeaseLost:
        _log.warning("step taken over", run=run, step=step, advice="this worker was stopped or cut off for too long")
        _again(task, LEASE_SECONDS / 3)
    except Unavailable as error:
        _log.warning("broker unavailable", run=run, step=step, error=str(error))
        _again(task, FIRST_WAIT)
    except (Retry, Reject):
        raise
    except Exception:
        # Around the work, not of it. Raised, it would end the step for all other messages of it too.
        _log.exception("unexpected error around a step", run=run, step=step)
        with suppress(Unavailable):
            if record.count_wait(run, step) > WAITS:
                raise
        _again(task, FIRST_WAIT)


def take_step(task: Task[Any, Any], blank: Outcome, work: Work) -> dict[str, Any] | None:
    """Do a step that has no outcome yet, and record it; None where another worker is on it. Raises Celery's `Retry` of
    `task`, `LeaseLost`, `Unavailable`."""
    installation = current()
    record, step = installation.record, _name(blank)
    lease = Lease(record, blank.run, step, LEASE_SECONDS, locks=installation.locks)
    if not lease.taken:
        return None
    with lease:
        outcome = _lost(blank, lease.lost) if lease.lost >= LIVES else _do(task, blank, work, lease)
        if outcome.failure and not lease.is_held():
            raise LeaseLost(step)  # what failed may be what another worker undid, who goes on
        host = {"host": installation.settings.host}
        return record.settle(blank.run, step, outcome.to_json() | host)


def _name(blank: Outcome) -> str:
    return step_name(blank.verb, blank.source, blank.destination, blank.part)


def _do(task: Task[Any, Any], blank: Outcome, work: Work, lease: Lease) -> Outcome:
    installation = current()
    step = _name(blank)
    began, watch = time.time(), Stopwatch()
    teller = Teller(installation.record, blank.run, step, lease.check, show=partial(_show, task))
    try:
        outcome = work(installation, teller)
    except Unavailable as error:
        waits = installation.record.count_wait(blank.run, step)
        if waits <= WAITS:
            _log.warning("waiting", run=blank.run, step=step, wait=waits, error=str(error))
            installation.record.note(blank.run, step, str(error))
            seconds = min(FIRST_WAIT * 2 ** (waits - 1), LONGEST_WAIT)
            installation.record.put_off(blank.run, step, time.time() + _SHORTEST * seconds)
            _again(task, seconds)
        outcome = blank.failed(error)
    except NotYet as error:
        # However long, and within the time after which a silent run gets its messages again.
        installation.record.note(blank.run, step, str(error))
        _again(task, min(error.seconds + 1, LONGEST_SLEEP))
    except BackupError as error:
        outcome = blank.failed(error)
    except (LeaseLost, Retry, Reject):  # the last two: of a part of the step, which has to wait
        raise
    except Exception as error:  # noqa: BLE001 - the edge: it becomes an outcome, and its traceback goes to the log
        _log.exception("unexpected error", run=blank.run, step=step)
        where = _origin(error)
        outcome = replace(blank, state="failed", failure=Failure("Unexpected", f"{where}; the worker's log says more"))
    times = {"began_epoch_seconds": began, "ended_epoch_seconds": time.time(), **watch.figures()}
    return replace(outcome, figures=outcome.figures | {name: round(value, 3) for name, value in times.items()})


def _show(task: Task[Any, Any], text: str) -> None:
    """As the task's result so far, in the state *PROGRESS*, where somebody watches Celery's events, as Flower does."""
    try:
        with reaching():
            task.send_event("task-progress", retry=False, result=text)
    except OperationalError as error:
        raise Unavailable("the broker does not answer") from error


def _again(task: Task[Any, Any], seconds: float) -> NoReturn:
    """Try the same message again after about `seconds`: many that wait for one thing must not all come at once. A
    worker holds it meanwhile, which may be longer than the visibility timeout: workers/delivered.py sees to that."""
    countdown = seconds * random.uniform(_SHORTEST, 2 - _SHORTEST)  # noqa: S311 - no secret
    raise task.retry(countdown=countdown, max_retries=None)


def _lost(blank: Outcome, lost: int) -> Outcome:
    message = f"given up: {lost} workers were killed or lost while they did this; see their host's log (out of memory?)"
    return replace(blank, state="failed", failure=Failure("WorkerLost", message))


def _origin(error: Exception) -> str:
    """The error's type and place. Never its text, which may quote data or a secret."""
    at = error.__traceback__
    while at and at.tb_next:
        at = at.tb_next
    place = f" in {os.path.basename(at.tb_frame.f_code.co_filename)}, line {at.tb_lineno}" if at else ""
    return f"{type(error).__name__}{place}"

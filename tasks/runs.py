"""How a run ends: when every step has an outcome its report is sent, and steps that will never have one are closed.

Not a chord. A chord whose part is lost never calls its body, and one forgets its parts when results expire; so each
branch of a night ends in `runs.join`, which asks the record, and the last one to ask sends the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Task, shared_task

from tasks.asked import RunId, checked
from tasks.errors import BackupError, NotFound, Unavailable
from tasks.installation import current
from tasks.outcome import Failure, Outcome
from tasks.record import Record, Step
from tasks.report import in_short, report_task
from tasks.run_keys import KEPT


def join(record: Record, run: str) -> bool:
    """Send the report if every step of the run has an outcome. True if so."""
    about = record.run(run)
    if about is None or record.missing(about):
        return False
    report_task.si(run=run).apply_async()
    return True


def close(record: Record, run: str, steps: Sequence[str], message: str) -> None:
    """Record that steps will never be done: in each branch the first without an outcome was lost, those after it are
    skipped. `steps` come in the run's order. What was noted on a lost step is added to the message."""
    notes = record.notes(run)
    broken: set[tuple[str, str]] = set()
    for step in steps:
        verb, source, destination = Step.of(step)
        known = record.outcome(run, step)
        if known is None:
            lost = Outcome(
                verb, source, destination, run, state="failed", failure=_failure(message, notes.get(step, ""))
            )
            skipped = Outcome(verb, source, destination, run, state="skipped")
            after = broken & {(source, ""), (source, destination)}
            record.settle(run, step, (skipped if after else lost).to_json())
        if known is None or not Outcome.from_json(known).usable:
            broken.add((source, destination))
    join(record, run)


def close_lost(record: Record, run: str, steps: Sequence[str]) -> None:
    """Close steps a message of whose first one failed, unless another message of that has come further."""
    if record.outcome(run, steps[0]) is None and not record.is_leased(run, steps[0]):
        close(record, run, steps, "its task was lost; the worker's log says more")


def _failure(message: str, note: str) -> Failure:
    return Failure("Lost", f"{message}; {note}" if note else message)


def state(record: Record, run: str) -> dict[str, Any]:
    """How far a run is, as JSON. `state` is *running*, or its report's; each step's is *waiting*, *running*, or its
    outcome's; `progress` and `notes`, why one waits, are of the steps without an outcome. Raises `NotFound`."""
    about = record.run(run)
    if about is None:
        raise NotFound(f"there is no run `{run}` in the record: it was never begun, or over {KEPT.days} days ago")
    report, outcomes = record.report(run), record.outcomes(run)
    steps = {step: _state(record, run, step, outcomes.get(step)) for step in about.steps}
    return {
        "run": run,
        "plan": about.plan,
        "started": about.started.isoformat(),
        "state": report["state"] if report else "running",
        "steps": steps,
        "progress": {
            step: told
            for step, told in record.progress(run).items()
            if step not in outcomes and steps.get(step, "running") == "running"  # parts of steps too
        },
        "notes": {step: note for step, note in record.notes(run).items() if step in steps and step not in outcomes},
        "report": in_short(report) if report else None,
    }


def _state(record: Record, run: str, step: str, outcome: dict[str, Any] | None) -> str:
    if outcome is not None:
        return str(outcome["state"])
    return "running" if record.is_leased(run, step) else "waiting"


@shared_task(name="runs.state", bind=True, max_retries=20, throws=(BackupError,))
@checked
def state_task(self: Task[Any, Any], *, run: RunId) -> dict[str, Any]:
    try:
        return state(current().record, run)
    except Unavailable as error:
        raise self.retry(countdown=5, exc=error) from error


@shared_task(name="runs.join", bind=True, max_retries=20)
def join_task(self: Task[Any, Any], *, run: str) -> bool:
    try:
        return join(current().record, run)
    except Unavailable as error:
        raise self.retry(countdown=5, exc=error) from error


@shared_task(name="runs.close", bind=True, max_retries=20)
def close_task(self: Task[Any, Any], *, run: str, steps: Sequence[str]) -> None:
    """For steps that Celery itself could not bring to an end."""
    try:
        close_lost(current().record, run, steps)
    except Unavailable as error:
        raise self.retry(countdown=5, exc=error) from error

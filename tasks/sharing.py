"""One step that several workers share: each of its parts is a task of its own, and is taken over alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from celery import Task
from celery.exceptions import OperationalError

from tasks.errors import PartFailed, Unavailable
from tasks.installation import current
from tasks.memory import give_back
from tasks.outcome import Outcome
from tasks.progress import Progress
from tasks.record import step_name
from tasks.run_keys import reaching
from tasks.step import Work, take_step

_LOOK_SECONDS = 0.2
_BYTES = ("content_bytes", "read_bytes", "restored_bytes")
"""The figures that may tell how much a part was, the first of those that it has."""


def share(
    task: Task[Any, Any],
    part_task: Task[Any, Any],
    blanks: Sequence[Outcome],
    work_of: Callable[[Outcome], Work],
    *,
    progress: Progress,
) -> list[Outcome]:
    """Offer the parts that `blanks` name to the workers of the pool, and do whichever nobody has taken, until all are
    done: so one worker is enough, and what a killed one leaves is taken over. Returns their outcomes, in order. Raises
    `PartFailed`; Celery's `Retry` of `task` where a part has to wait."""
    record, run = current().record, blanks[0].run
    steps = [step_name(each.verb, each.source, each.destination, each.part) for each in blanks]
    outcomes = record.outcomes(run)
    for blank, step in zip(blanks, steps, strict=True):
        if step not in outcomes:
            with suppress(OperationalError, Unavailable), reaching():  # then this worker does it
                part_task.apply_async(kwargs=_arguments(blank))
    give_back()  # as between two steps: what was done here until now was one, and each part is another
    while True:
        outcomes = record.outcomes(run)
        done = [Outcome.from_json(outcomes[step]) for step in steps if step in outcomes]
        for each in done:
            if each.failure:
                message = f"part {each.part} of {len(blanks)}: {each.failure.message}"
                raise PartFailed(each.failure.kind, message)
        if len(done) == len(blanks):
            return done
        read = sum(next((each.figures[name] for name in _BYTES if name in each.figures), 0) for each in done)
        progress({"done_bytes": read, "total_bytes": 0, "items": len(done)})
        left = [blank for blank, step in zip(blanks, steps, strict=True) if step not in outcomes]
        if any(take_step(task, blank, work_of(blank)) for blank in left):
            give_back()
        else:
            time.sleep(_LOOK_SECONDS)


def is_decided(blank: Outcome) -> bool:
    """Whether the step that a part is of has its outcome, so that nobody waits for the part any more."""
    return current().record.outcome(blank.run, step_name(blank.verb, blank.source, blank.destination)) is not None


def _arguments(blank: Outcome) -> dict[str, str]:
    destination = {"destination": blank.destination} if blank.destination else {}
    return {"source": blank.source, "run": blank.run, "number": blank.part} | destination

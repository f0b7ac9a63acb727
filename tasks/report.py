"""What a run came to: the recovery point, what failed, what it cost. Kept in the record, and as a file on the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from celery import Task, shared_task

from tasks.broker import is_embedded
from tasks.due import is_slot
from tasks.errors import Damaged, NotFound, Unavailable
from tasks.installation import Installation, current
from tasks.outcome import Outcome
from tasks.record import Run
from tasks.report_files import KEPT, read_reports, write

_UNWRITTEN = "unwritten"
_log = structlog.get_logger(__name__)
_SUMMED = ("read_bytes", "new_bytes", "stored_bytes", "copied_bytes")


def compose(run: Run, outcomes: Mapping[str, Outcome], finished: datetime) -> dict[str, Any]:
    """The report of a run whose every step has an outcome, as JSON.

    `state`: *done*; *incomplete* (everything is stored, but something in it is partial, vanished or unreadable);
    *failed*. `recovery_point`: of each source its snapshot and where it is; `whole` only if every source is stored,
    complete, at every destination; `skew_seconds` from the first capture's beginning to the last one's end. `parts`: of
    steps that several workers shared, what each part came to. `unwritten` is added where the host takes no file of it.
    """
    steps = {step: outcomes[step] for step in run.steps if step in outcomes}
    parts = {step: each for step, each in outcomes.items() if each.part and each.state != "skipped"}
    failed = {step: each for step, each in steps.items() if each.state == "failed"}
    missing = [step for step in run.steps if step not in steps]
    captured = [each for each in steps.values() if each.verb == "backup" and each.usable]
    sources = {each.source for each in captured}
    capturing = [*captured, *(each for each in parts.values() if each.verb == "backup" and each.source in sources)]
    times = [each.figures["began_epoch_seconds"] for each in capturing if "began_epoch_seconds" in each.figures]
    begun = times or [0.0] * bool(captured)
    ended = [each.figures.get("ended_epoch_seconds", 0) for each in captured]
    bad = bool(failed or missing or any(each.state == "skipped" for each in steps.values()))
    flawed = any(each.state == "incomplete" for each in steps.values())
    return {
        "run": run.id,
        "plan": run.plan,
        "slot": run.slot,
        "started": run.started.isoformat(),
        "finished": finished.isoformat(),
        "seconds": round((finished - run.started).total_seconds(), 3),
        "state": "failed" if bad else "incomplete" if flawed else "done",
        "recovery_point": {
            "whole": bool(steps) and not bad and not flawed,
            "skew_seconds": round(max(ended) - min(begun), 3) if begun else 0,
            "sources": {each.source: _where(each, steps) for each in captured},
        },
        "failures": [
            {"step": step, "host": each.host, "kind": each.failure.kind, "message": each.failure.message}
            for step, each in failed.items()
            if each.failure
        ],
        "missing": missing,
        "figures": _sums(steps),
        "steps": {step: each.to_json() for step, each in steps.items()},
        "parts": {step: each.to_json() for step, each in sorted(parts.items(), key=_in_order)},
    }


def _in_order(part: tuple[str, Outcome]) -> tuple[str, int]:
    step, outcome = part
    return step.rpartition("/")[0], int(outcome.part)


def _where(captured: Outcome, steps: Mapping[str, Outcome]) -> dict[str, Any]:
    of = [each for each in steps.values() if each.source == captured.source]
    return {
        "snapshot": captured.snapshot,
        "complete": captured.good,
        "destinations": [each.destination for each in of if each.verb == "upload" and each.usable],
        "proven": [each.destination for each in of if each.verb == "verify" and each.good and not _is_undone(each, of)],
    }


def _is_undone(verified: Outcome, of: Iterable[Outcome]) -> bool:
    """Whether a drill of the same snapshot found that something else comes back."""
    at = [each for each in of if each.verb == "drill" and each.destination == verified.destination]
    return any(each.failure is not None and each.failure.kind == Damaged.__name__ for each in at)


def _sums(steps: Mapping[str, Outcome]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for each in steps.values():
        for name in _SUMMED:
            if name in each.figures:
                sums[name] = sums.get(name, 0) + each.figures[name]
    return sums


def report(installation: Installation, run: str) -> dict[str, Any]:
    """Compose the report of a run, once; a second call returns the first's. Where it can't be written as a file it says
    so itself: whoever waits for it would wait for ever, and what the run stored is stored. Raises `NotFound`."""
    record = installation.record
    composed = record.report(run)
    if composed is None:
        about = record.run(run)
        if about is None:
            raise NotFound(f"there is no run `{run}` in the record")
        outcomes = {step: Outcome.from_json(data) for step, data in record.outcomes(run).items()}
        composed = compose(about, outcomes, record.now())
    # The file first: who sees the report in the record may end this worker.
    composed = _written(installation.reports, composed)
    kept = record.keep_report(run, composed)
    if kept != composed:
        _written(installation.reports, kept)
    return kept


def _written(folder: Path, composed: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in composed.items() if name != _UNWRITTEN}
    try:
        write(folder, told)
    except Unavailable as error:
        _log.warning("report is in the record alone", run=told["run"], error=str(error))
        return told | {_UNWRITTEN: str(error)}
    return told


def in_short(composed: Mapping[str, Any]) -> dict[str, Any]:
    """What crosses the broker of a report: all but its steps and their parts."""
    return {name: value for name, value in composed.items() if name not in ("steps", "parts")}


def recall(installation: Installation, plan: str, slot: str) -> Run | None:
    """The run of that slot that a report on this host tells of and the record does not, as the broker came back without
    its data: recorded again. None where there is no such report. Raises `Unavailable`."""
    record = installation.record
    for told in _of(installation.reports, plan):
        if told["slot"] == slot:
            run = Run(told["run"], plan, slot, datetime.fromisoformat(told["started"]), tuple(told["steps"]))
            for step, outcome in {**told["steps"], **told.get("parts", {})}.items():
                record.settle(run.id, step, outcome)
            record.keep_report(run.id, told)
            return record.begin(run)
    return None


def last_started(folder: Path, plan: str) -> datetime | None:
    """When the last run began, as a plan was due, of which a report is on this host."""
    return max((datetime.fromisoformat(told["started"]) for told in _of(folder, plan)), default=None)


def _of(folder: Path, plan: str) -> Iterator[dict[str, Any]]:
    for told in read_reports(folder, KEPT):
        if told.get("plan") == plan and is_slot(str(told.get("slot"))):
            yield told


def last_reports(installation: Installation, limit: int) -> Iterator[dict[str, Any]]:
    """The last reports, newest first: of every host, from the record; of this host, from its files, where the broker is
    the embedded one, which runs only while there is work. Raises `Unavailable`."""
    if is_embedded(installation.settings):
        yield from read_reports(installation.reports, limit)
        return
    for run in installation.record.runs(limit):
        if kept := installation.record.report(run.id):
            yield kept


@shared_task(name="report", bind=True, max_retries=20)
def report_task(self: Task[Any, Any], *, run: str) -> dict[str, Any]:
    try:
        composed = report(current(), run)
    except Unavailable as error:
        raise self.retry(countdown=5, exc=error) from error
    _log.info("run ended", run=run, plan=composed["plan"], state=composed["state"], seconds=composed["seconds"])
    return in_short(composed)

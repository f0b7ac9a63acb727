"""The report of a run: its state, its recovery point, its sums."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.outcome import Failure, Outcome, State
from tasks.record import Run
from tasks.report import compose

START = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
STEPS = ("backup/docs", "upload/docs/here", "verify/docs/here", "prune/docs/here")
RUN = Run("run-1", "nightly", "slot", START, STEPS)


def good(**changed: State) -> dict[str, Outcome]:
    """All steps of the run; `changed` gives some verbs another state."""
    outcomes = {}
    for step in STEPS:
        verb, source, *destination = step.split("/")
        state: State = changed.get(verb, "done")
        figures = {"began_epoch_seconds": 100.0, "ended_epoch_seconds": 160.0, "new_bytes": 10.0}
        failure = Failure("Refused", "no right") if state == "failed" else None
        place = destination[0] if destination else ""
        outcomes[step] = Outcome(verb, source, place, "run-1", "snap-1", state, figures, failure=failure, host="one")
    return outcomes


def report(outcomes: dict[str, Outcome], run: Run = RUN) -> dict[str, Any]:
    return compose(run, outcomes, START + timedelta(minutes=3))


def test_a_good_run_is_a_whole_recovery_point() -> None:
    composed = report(good())
    assert (composed["state"], composed["seconds"], composed["failures"]) == ("done", 180.0, [])
    where = {"snapshot": "snap-1", "complete": True, "destinations": ["here"], "proven": ["here"]}
    assert composed["recovery_point"] == {"whole": True, "skew_seconds": 60.0, "sources": {"docs": where}}
    assert composed["figures"]["new_bytes"] == 40


def test_an_incomplete_capture_is_no_whole_recovery_point() -> None:
    composed = report(good(backup="incomplete"))
    assert composed["state"] == "incomplete"
    assert not composed["recovery_point"]["whole"]
    assert not composed["recovery_point"]["sources"]["docs"]["complete"]


def test_a_failed_step_makes_the_run_failed_and_is_named_with_its_reason() -> None:
    composed = report(good(upload="failed", verify="skipped", prune="skipped"))
    assert composed["state"] == "failed"
    failure = {"step": "upload/docs/here", "host": "one", "kind": "Refused", "message": "no right"}
    assert composed["failures"] == [failure]
    assert composed["recovery_point"]["sources"]["docs"]["destinations"] == []


def test_a_skipped_step_is_never_success() -> None:
    assert report(good(prune="skipped"))["state"] == "failed"


def test_a_step_without_an_outcome_is_never_success() -> None:
    outcomes = good()
    del outcomes["verify/docs/here"]
    composed = report(outcomes)
    assert composed["state"] == "failed"
    assert composed["missing"] == ["verify/docs/here"]


def test_a_run_of_nothing_is_no_recovery_point() -> None:
    composed = report({}, Run("run-1", "", "", START, ()))
    assert not composed["recovery_point"]["whole"]


def test_the_skew_goes_from_the_first_capture_to_the_end_of_the_last() -> None:
    run = Run("run-1", "", "", START, ("backup/a", "backup/b"))
    outcomes = {
        "backup/a": Outcome("backup", "a", figures={"began_epoch_seconds": 10.0, "ended_epoch_seconds": 15.0}),
        "backup/b": Outcome("backup", "b", figures={"began_epoch_seconds": 12.0, "ended_epoch_seconds": 40.0}),
    }
    assert report(outcomes, run)["recovery_point"]["skew_seconds"] == 30


def test_a_drill_that_could_not_be_made_undoes_no_proof_and_a_bad_one_does() -> None:
    run = Run("run-1", "nightly", "slot", START, (*STEPS[:-1], "drill/docs/here", STEPS[-1]))
    for kind, proven in (("NoSpace", ["here"]), ("Damaged", [])):
        failed = Outcome(
            "drill", "docs", "here", "run-1", "snap-1", "failed", failure=Failure(kind, "the scratch folder is full")
        )
        composed = report({**good(prune="skipped"), "drill/docs/here": failed}, run)
        assert composed["state"] == "failed"
        assert composed["recovery_point"]["sources"]["docs"]["proven"] == proven

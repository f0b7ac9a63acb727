"""A pool that no worker serves is named: while the run waits, and in its report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tasks.tend import tend
from tests.flows.house import House
from tests.flows.test_night import assert_restores, local, originals_of, tree


def test_a_pool_that_nobody_serves_is_noted_while_the_run_waits_and_named_in_its_report(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)})
    house.worker(queues="control,files,transfer")
    run = house.start()
    house.wait_for(lambda: house.record.outcome(run, "upload/docs/here"), "the upload")

    def notes() -> dict[str, str]:
        with house.app() as app:
            app.send_task("plan.tend", queue="control").get(timeout=60)
        return house.record.notes(run)

    found = house.wait_for(notes, "a note")
    assert found == {
        "verify/docs/here": "no worker serves the queue `proof`: `celery -A workers worker -Q proof`",
    }
    with house.configured():
        tend(house.installation, datetime.now(UTC) + timedelta(hours=7), timedelta(hours=1), patience=timedelta())
    report = house.report(run)
    assert report["state"] == "failed"
    (failure,) = report["failures"]
    assert failure["step"] == "verify/docs/here"
    assert failure["kind"] == "Lost"
    assert "no worker serves the queue `proof`" in failure["message"]
    assert not report["recovery_point"]["whole"]
    assert_restores(house, originals_of(house, "docs"))

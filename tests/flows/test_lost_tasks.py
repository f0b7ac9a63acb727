"""What Celery itself is given an error by, around the work of a step: it is tried again, and ends a step only in the
end, and only where no other message has come further."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.record import Run, step_name
from tasks.runs import close_lost
from tests.flows.house import House
from tests.flows.test_night import local, tree

RUN = "spoilt"
STEP = step_name("backup", "docs")
AROUND = "unexpected error around a step"


@pytest.fixture
def spoilt(house: House) -> House:
    """The record of a run to come holds for one step what this program never writes there."""
    house.configure({name: tree(house, name, name) for name in ("docs", "config")}, {"here": local(house)})
    house.client.hset(house.record._key("tries", RUN), f"{STEP} until", "no number")
    return house


def test_an_error_around_a_step_is_tried_again_and_the_night_ends(spoilt: House) -> None:
    spoilt.worker()
    spoilt.start(run=RUN)
    spoilt.wait_for(lambda: [line for line in spoilt.log() if line["event"] == AROUND], "the error")
    spoilt.client.hdel(spoilt.record._key("tries", RUN), f"{STEP} until")
    report = spoilt.report(RUN)
    assert report["state"] == "done", f"{report['failures']}\n{spoilt.consoles()}"


def test_an_error_around_a_step_that_stays_ends_that_source_alone_and_the_report_tells(spoilt: House) -> None:
    spoilt.worker()
    spoilt.start(run=RUN)
    report = spoilt.report(RUN)
    assert [(failure["step"], failure["kind"]) for failure in report["failures"]] == [(STEP, "Lost")]
    assert report["steps"]["upload/docs/here"]["state"] == "skipped"
    assert report["recovery_point"]["sources"]["config"]["proven"] == ["here"]
    assert any("ValueError" in line.get("exception", "") for line in spoilt.log() if line["event"] == AROUND)


def test_a_message_that_failed_ends_no_step_that_another_one_works_on_or_has_ended(house: House) -> None:
    record, steps = house.record, [step_name(verb, "docs", "here") for verb in ("verify", "prune")]
    record.begin(Run(RUN, "", "", datetime.now(UTC), (STEP, *steps)))
    assert record.take(RUN, steps[0], "another worker", 60) == 0
    close_lost(record, RUN, steps)
    assert record.outcomes(RUN) == {}
    record.settle(RUN, steps[0], {"state": "done"})
    record.release(RUN, steps[0], "another worker")
    close_lost(record, RUN, steps)
    assert list(record.outcomes(RUN)) == steps[:1]
    close_lost(record, RUN, steps[1:])
    assert record.outcomes(RUN)[steps[1]]["failure"]["kind"] == "Lost"


def test_a_step_that_was_put_off_by_a_clock_that_was_ahead_is_not_waited_for_until_then(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)})
    house.record.put_off(RUN, "verify/docs/here", (datetime.now(UTC) + timedelta(days=3650)).timestamp())
    house.worker()
    assert house.report(house.start(run=RUN))["state"] == "done"

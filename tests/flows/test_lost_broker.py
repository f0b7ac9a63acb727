"""The broker is killed in the middle of a scheduled night and comes back, with its data or with none: beat and workers
go on by themselves, and what was lost is run again, once."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.due import slot_of
from tasks.runs import state
from tests.flows.house import House
from tests.flows.test_beat import beats, miss_three_nights, nightly
from tests.flows.test_kills import gated_source, reached
from tests.flows.test_night import assert_restores, local, originals_of, tree
from tests.redis_process import RedisProcess, redis_process

LOOKS = {"GEOMETRA_BACKUP_BEAT_LEASE_SECONDS": "1.5"}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[House]:
    """A house with a broker of its own."""
    with redis_process() as broker:
        house = House(tmp_path, broker)
        try:
            yield house
        finally:
            house.close()


def restart(broker: RedisProcess, *, kept: bool, seconds: float = 2) -> None:
    time.sleep(1.2)  # what the broker's log file may lack
    broker.kill()
    if not kept:
        for path in broker.folder.iterdir():
            if path.name.startswith("appendonly"):
                shutil.rmtree(path)
    time.sleep(seconds)
    broker.start()


def schedule(house: House) -> None:
    """A plan of all that the house is configured for, due two hours ago."""
    text = house.file.read_text()
    plan = "".join(f"{name} = {json.dumps(value)}\n" for name, value in nightly().items())
    house.file.write_text(f"{text}[plans.nightly]\n{plan}")


def runs_started(house: House) -> set[str]:
    return {line["run"] for line in house.log() if line["event"] == "run started"}


def runs_of(house: House) -> list[Any]:
    return [(run.plan, run.slot, run.id) for run in house.record.runs()]


@pytest.mark.parametrize(
    ("kept", "seconds"), [(True, 2), (False, 2), (False, 0)], ids=["with its data", "with none", "with none, at once"]
)
def test_a_broker_that_comes_back_in_the_middle_of_a_scheduled_night_costs_no_night(
    own: House, kept: bool, seconds: float
) -> None:
    gate = gated_source(own)
    schedule(own)
    miss_three_nights(own)
    own.worker()
    own.beat(**LOOKS)
    (first,) = own.wait_for(own.record.runs, "the run")
    reached(own, gate)
    own.wait_for(lambda: own.record.outcome(first.id, "prune/docs/here"), "the source beside it")
    restart(own.broker, kept=kept, seconds=seconds)
    own.wait_for(own.record.runs, "the run, or another")
    gate.unlink()
    (last,) = own.record.runs()
    assert (last.id == first.id, last.slot) == (kept, first.slot)
    report = own.report(last.id, 120)
    assert report["state"] == "done", report["failures"]
    # Once: beat looks on, and nothing of it is begun again.
    time.sleep(6)
    assert runs_of(own) == [("nightly", first.slot, last.id)]
    assert runs_started(own) == {first.id, last.id}
    assert [path.stem for path in (own.folder / "state/reports").glob("[!.]*")] == [last.id]
    own.wait_for(lambda: list((own.folder / "state/spool").glob("*/*")) == [], "an empty spool")
    assert_restores(own, originals_of(own, "gated", "docs"))


def test_a_night_that_had_ended_is_not_run_again_when_the_broker_loses_its_data(own: House) -> None:
    own.configure({"docs": tree(own, "docs", "docs")}, {"here": local(own)}, {"nightly": nightly()})
    miss_three_nights(own)
    own.worker()
    own.beat(**LOOKS)
    (run,) = own.wait_for(own.record.runs, "the run")
    report = own.report(run.id)
    restart(own.broker, kept=False)
    own.wait_for(own.record.runs, "what the report on the disk tells")
    time.sleep(4)
    assert own.record.runs() == [run]
    assert own.record.report(run.id) == report
    told = state(own.record, run.id)
    assert (told["state"], set(told["steps"].values())) == ("done", {"done"})
    assert len(own.installation.repository("docs", "here").snapshots()) == 1


def test_a_beat_that_is_as_new_as_the_broker_s_data_goes_on_after_the_last_report(own: House) -> None:
    """As after a loss of power, where the broker kept nothing: the night that came due meanwhile is made up for."""
    own.configure({"docs": tree(own, "docs", "docs")}, {"here": local(own)}, {"nightly": nightly()})
    own.worker()
    beat = own.beat(**LOOKS)
    # A new plan begins now, so its last time is not made up for.
    own.wait_for(lambda: "plan nightly" in beats(own).sent(), "its first notes")
    miss_three_nights(own)
    beat.kill()
    beat = own.beat(**LOOKS)
    (run,) = own.wait_for(own.record.runs, "the run", 60)
    own.report(run.id)
    beat.kill()
    file = own.folder / f"state/reports/{run.id}.json"
    told = json.loads(file.read_text())
    earlier = datetime.now(UTC) - timedelta(days=1, hours=2)
    file.write_text(json.dumps(told | {"slot": slot_of(earlier), "started": earlier.isoformat()}))
    restart(own.broker, kept=False)
    own.beat(**LOOKS)
    (again,) = own.wait_for(own.record.runs, "the next run")
    assert (again.id != run.id, again.slot) == (True, run.slot)
    assert own.report(again.id)["state"] == "done"
    assert runs_started(own) == {run.id, again.id}


def test_a_new_plan_and_a_new_broker_begin_now(own: House) -> None:
    own.configure({"docs": tree(own, "docs", "docs")}, {"here": local(own)}, {"nightly": nightly()})
    own.worker()
    own.beat(**LOOKS)
    for kept in (True, False):
        own.wait_for(lambda: "plan nightly" in beats(own).sent(), "its first notes")
        time.sleep(2)
        assert own.record.runs() == []
        if kept:
            restart(own.broker, kept=False)

"""Workers, their children and the broker are killed in the middle of a night; it ends as if nothing had been."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tasks.tend import tend
from tests.flows.house import LEASE, VISIBILITY, House, Worker
from tests.flows.test_night import assert_restores, local, originals_of, tree
from tests.flows.trees import grow
from tests.redis_process import redis_process

MEGABYTES = 40_000_000
"""More than a pack holds: something is stored before the gate, and something after."""


def gated_source(house: House, large: int = MEGABYTES) -> Path:
    """A house with a source that stops in the middle of its capture; its gate, closed."""
    gate = house.folder / "gate"
    gate.touch()
    root = grow(house.folder / "originals" / "gated", large=large)
    (root / "zzz gate").write_text("the last item")
    source = {"kind": "gated", "paths": [root], "gate": gate}
    house.configure({"gated": source, "docs": tree(house, "docs", "docs")}, {"here": local(house)})
    return gate


def gated_upload(house: House) -> Path:
    gate = house.folder / "gate"
    gate.touch()
    destination = {"kind": "gated", "path": house.folder / "store", "gate": gate}
    house.configure({"models": tree(house, "models", "models", large=MEGABYTES)}, {"here": destination})
    return gate


def reached(house: House, gate: Path) -> None:
    house.wait_for(gate.with_suffix(".reached").exists, "the gate")
    gate.with_suffix(".reached").unlink(missing_ok=True)


def assert_once(house: House, report: dict[str, Any], *sources: str) -> None:
    """Each source is sealed once, all of it can be restored, the report came once, and nothing is left over."""
    assert report["state"] == "done", f"{report['failures']}\n{house.consoles()}"
    for source in sources:
        assert len(list((house.folder / "store" / source / "snapshots").iterdir())) == 1
    assert len(list((house.folder / "state/reports").glob("[!.]*"))) == 1
    assert_restores(house, originals_of(house, *sources))
    house.wait_for(lambda: list((house.folder / "state/spool").glob("*/*")) == [], "an empty spool")


def pool_children(worker: Worker) -> list[int]:
    children = Path(f"/proc/{worker.child.pid}/task/{worker.child.pid}/children").read_text()
    return [int(child) for child in children.split()]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_killed_in_mid_capture_is_taken_over_and_the_night_ends_once(house: House, pool: str) -> None:
    gate = gated_source(house)
    first = house.worker(pool=pool)
    run = house.start()
    reached(house, gate)
    first.kill()
    gate.unlink()
    house.worker(pool=pool)
    house.beat()  # a kill between taking a message and noting so loses it; beat has the run's messages sent again
    assert_once(house, house.report(run), "gated", "docs")


def test_a_worker_killed_in_mid_upload_is_taken_over_and_the_night_ends_once(house: House) -> None:
    gate = gated_upload(house)
    first = house.worker()
    run = house.start()
    reached(house, gate)
    first.kill()
    gate.unlink()
    house.worker()
    house.beat()
    assert_once(house, house.report(run), "models")


def test_a_killed_child_of_a_worker_is_replaced_and_the_night_ends_once(house: House) -> None:
    gate = gated_source(house)
    worker = house.worker()
    run = house.start()
    reached(house, gate)
    for child in pool_children(worker):
        os.kill(child, signal.SIGKILL)
    gate.unlink()
    assert_once(house, house.report(run), "gated", "docs")


def test_a_step_that_outlives_the_visibility_timeout_is_not_done_twice(house: House) -> None:
    gate = gated_source(house)
    house.worker(concurrency=4)
    run = house.start()
    reached(house, gate)
    time.sleep(3 * VISIBILITY)
    gate.unlink()
    assert_once(house, house.report(run), "gated", "docs")
    started = [line for line in house.log() if line["event"] == "started" and line["task"] == "backup.gated"]
    assert len(started) == 1


def test_a_worker_that_was_stopped_for_long_finds_its_step_taken_over_and_does_no_harm(house: House) -> None:
    gate = gated_source(house)
    first = house.worker()
    run = house.start()
    reached(house, gate)
    os.killpg(first.child.pid, signal.SIGSTOP)
    gate.unlink()
    house.worker()
    house.beat()  # the broker may hand the stopped worker one more message, which nobody else will ever see
    report = house.report(run)
    os.killpg(first.child.pid, signal.SIGCONT)
    time.sleep(2 * LEASE)
    assert house.record.report(run) == report
    first.stop()
    assert_once(house, report, "gated", "docs")


def test_a_step_that_kills_its_workers_is_given_up_and_the_report_tells(house: House) -> None:
    deadly = tree(house, "deadly", "deadly", files=1)
    house.configure({"deadly": deadly, "docs": tree(house, "docs", "docs")}, {"here": local(house)})
    house.worker()
    report = house.night()
    assert [(failure["step"], failure["kind"]) for failure in report["failures"]] == [("backup/deadly", "WorkerLost")]
    assert report["recovery_point"]["sources"]["docs"]["proven"] == ["here"]
    assert report["steps"]["upload/deadly/here"]["state"] == "skipped"


def test_a_warm_shutdown_in_the_middle_of_a_night_loses_nothing(house: House) -> None:
    gate = gated_source(house)
    first = house.worker()
    run = house.start()
    reached(house, gate)
    first.child.terminate()
    gate.unlink()
    first.stop()
    house.worker()
    assert_once(house, house.report(run), "gated", "docs")


def test_a_worker_that_is_told_to_end_just_as_it_hands_on_a_task_ends_soon_after_that(house: House) -> None:
    house.configure({"docs": tree(house, "docs", "docs")}, {"here": local(house)})
    worker = house.worker(concurrency=1)
    with house.app() as app:
        ask = partial(app.send_task, "runs.state", kwargs={"run": "none"}, queue="control")
        ask().get(timeout=60, propagate=False)  # so it is up
        house.wait_for(lambda: house.client.hlen("unacked") == 0, "an idle worker")
        (child,) = pool_children(worker)
        os.kill(child, signal.SIGSTOP)
        ask()
    house.wait_for(lambda: house.client.hlen("unacked"), "the message in its hands")
    time.sleep(0.5)
    worker.child.terminate()
    house.wait_for(lambda: "Warm shutdown" in worker.log.read_text(), "its end to begin")
    time.sleep(0.5)
    os.kill(child, signal.SIGCONT)
    worker.child.wait(15)


def test_a_capture_that_a_deploy_hands_back_stores_nothing_again_that_was_in_a_whole_pack(house: House) -> None:
    gate = gated_source(house, 3 * MEGABYTES)
    first = house.worker()
    run = house.start()
    reached(house, gate)
    whole = house.wait_for(lambda: packs_of(house), "a pack")
    for _ in range(2):  # the second one does not wait for the task, as the end of a container's grace
        first.child.send_signal(signal.SIGQUIT)
        time.sleep(1)
    house.wait_for(lambda: first.child.poll() is not None, "the end of the worker")
    gate.with_suffix(".reached").unlink(missing_ok=True)
    house.worker()
    reached(house, gate)
    assert whole.items() <= packs_of(house).items()
    gate.unlink()
    assert_once(house, house.report(run), "gated", "docs")
    stored = sum(path.stat().st_size for path in (house.folder / "store/gated/packs").rglob("*") if path.is_file())
    assert stored < 1.01 * 3 * MEGABYTES  # noise, each block of it once


def packs_of(house: House) -> dict[str, int]:
    """When each whole pack of the source with the gate was written."""
    found = (house.folder / "state/spool/gated").glob("*/*/gated/packs/**/*")
    return {path.name: path.stat().st_mtime_ns for path in found if path.is_file()}


def test_a_broker_killed_in_the_middle_of_a_night_costs_a_pause_and_not_the_report(tmp_path: Path) -> None:
    with redis_process() as broker:
        house = House(tmp_path, broker)
        try:
            gate = gated_source(house)
            house.worker()
            run = house.start()
            reached(house, gate)
            time.sleep(1.2)  # what the broker's log file may lack
            broker.kill()
            gate.unlink()
            time.sleep(2)
            broker.start()
            assert_once(house, house.report(run), "gated", "docs")
        finally:
            house.close()


def test_a_run_whose_workers_are_gone_for_good_is_closed_and_reported(house: House) -> None:
    gate = gated_source(house)
    worker = house.worker()
    run = house.start()
    reached(house, gate)
    worker.kill()
    with house.configured():
        tend(house.installation, datetime.now(UTC) + timedelta(hours=7), timedelta(hours=1), patience=timedelta())
    gate.unlink()
    house.worker()
    report = house.report(run)
    assert report["state"] == "failed"
    assert ("backup/gated", "Lost") in [(failure["step"], failure["kind"]) for failure in report["failures"]]
    assert report["steps"]["upload/gated/here"]["state"] == "skipped"


def test_messages_that_the_broker_lost_are_sent_again_and_the_night_ends_once(house: House) -> None:
    gate = gated_source(house)
    worker = house.worker()
    run = house.start()
    reached(house, gate)
    worker.kill()
    house.forget_messages()
    gate.unlink()
    house.worker()
    house.beat()
    assert_once(house, house.report(run), "gated", "docs")

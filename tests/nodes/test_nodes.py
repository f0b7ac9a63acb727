"""A night over the nodes of pytest-celery: as it is, with its worker killed in the middle, its broker restarted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pytest_celery import CeleryTestSetup

from tests.flows.house import House
from tests.flows.test_kills import assert_once, gated_source, reached
from tests.flows.test_night import assert_restores, originals_of


@pytest.fixture
def configured(house: House) -> Path:
    """A source that stops in the middle of its capture, and one that does not; the gate."""
    return gated_source(house)


def begin(setup: CeleryTestSetup, **arguments: Any) -> str:
    sent = setup.app.send_task("plan.start", kwargs=arguments, queue="control")
    return str(sent.get(timeout=60)["id"])


def test_a_night_over_the_nodes_ends_proven_and_restores(
    configured: Path, house: House, celery_setup: CeleryTestSetup
) -> None:
    configured.unlink()
    assert len(celery_setup) == 3
    assert celery_setup.ready(control=True, docker=True)
    report = house.report(begin(celery_setup))
    assert report["state"] == "done", report["failures"]
    assert report["recovery_point"]["whole"]
    assert_restores(house, originals_of(house, "gated", "docs"))


def test_a_worker_node_killed_in_mid_capture_is_taken_over_by_the_next(
    configured: Path, house: House, celery_setup: CeleryTestSetup
) -> None:
    run = begin(celery_setup)
    reached(house, configured)
    celery_setup.worker.kill()
    assert celery_setup.worker.container.status != "running"
    configured.unlink()
    celery_setup.worker.restart()
    assert celery_setup.worker.container.status == "running"
    with house.app() as app:
        # As beat does: a kill between taking a message and noting so loses it.
        house.wait_for(
            lambda: house.record.report(run) or app.send_task("plan.tend", queue="control").get(), "the report"
        )
    assert_once(house, house.report(run), "gated", "docs")


def test_a_broker_node_restarted_in_mid_capture_costs_a_pause(
    configured: Path, house: House, celery_setup: CeleryTestSetup
) -> None:
    run = begin(celery_setup)
    reached(house, configured)
    time.sleep(1.2)  # what the broker's log file may lack
    celery_setup.broker.restart()
    configured.unlink()
    assert_once(house, house.report(run), "gated", "docs")

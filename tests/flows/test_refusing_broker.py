"""A broker that answers, and refuses what is written, for a while in the middle of a night: it costs a pause."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.house import House
from tests.flows.test_kills import assert_once, gated_source, reached
from tests.redis_process import redis_process

REFUSALS = {
    "its memory is full": ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
    "it is a replica": ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    "its replicas are gone": ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[House]:
    """A house with a broker of its own."""
    with redis_process() as broker:
        house = House(tmp_path, broker)
        try:
            yield house
        finally:
            house.close()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("why", REFUSALS)
def test_a_broker_that_refuses_for_a_while_costs_a_pause_and_not_the_worker(own: House, why: str, pool: str) -> None:
    begin, end = REFUSALS[why]
    gate = gated_source(own)
    worker = own.worker(pool=pool)
    own.beat()
    run = own.start()
    reached(own, gate)
    own.client.execute_command(*begin.split())  # type: ignore[no-untyped-call]
    gate.unlink()
    time.sleep(6)
    own.client.execute_command(*end.split())  # type: ignore[no-untyped-call]
    assert_once(own, own.report(run), "gated", "docs")
    assert worker.child.poll() is None
    worker.stop()


def test_what_a_process_says_in_two_halves_is_heard_when_the_broker_goes_away_between_them(own: House) -> None:
    begin, end = REFUSALS["it is a replica"]
    gate, half = gated_source(own), own.folder / "half"
    worker = own.worker(CELERY_CONFIG_MODULE="tests.flows.celeryconfig_with_pauses", GEOMETRA_TESTS_HALF=str(half))
    own.beat()
    run = own.start()
    reached(own, gate)
    own.client.execute_command(*begin.split())  # type: ignore[no-untyped-call]
    gate.unlink()  # what can't be sent again comes back with all that led to it, which is long
    own.wait_for(half.exists, "half of what it says")
    own.client.execute_command("CLIENT", "KILL", "TYPE", "normal")  # type: ignore[no-untyped-call]
    time.sleep(2)
    own.client.execute_command(*end.split())  # type: ignore[no-untyped-call]
    assert_once(own, own.report(run), "gated", "docs")
    worker.stop()

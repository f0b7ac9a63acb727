"""A source several times the size of the spool's quota: the spool stays small, and whoever is killed or away, the
destinations end with all of it.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest

from tasks import ahead
from tasks.capture import capture
from tasks.configuration import load
from tasks.errors import Unavailable
from tasks.installation import Installation
from tasks.outcome import Outcome
from tasks.record import Run
from tasks.repository import pack
from tasks.upload import upload
from tests.flows import kinds
from tests.flows.house import House
from tests.flows.test_night import assert_restores, local, originals_of
from tests.stores.s3 import S3Server

QUOTA = 24_000_000
MEGABYTE = 1_000_000
RUNS = [Run(f"run-{day}", "", "", datetime(2026, 11, day, 2, 0, tzinfo=UTC), ()) for day in (27, 28)]


def models(house: House, megabytes: int, seed: int = 0) -> dict[str, Any]:
    """Files of noise, 2 MB each."""
    root = house.folder / "originals" / "models"
    root.mkdir(parents=True, exist_ok=True)
    for number in range(megabytes // 2):
        noise = random.Random(f"{seed} {number}").randbytes(2 * MEGABYTE)
        (root / f"weights{number:03}.bin").write_bytes(noise)
    return {"kind": "models", "paths": [root]}


class Small:
    """An installation whose packs and whose quota are small, and the most that its spool held."""

    def __init__(self, house: House) -> None:
        self._house, self.peak = house, 0
        self.installation = Installation(load(house.file).model_copy(update={"spool_quota": QUOTA}))

    def capture(self, run: Run = RUNS[0]) -> Outcome:
        return capture(self.installation, "models", run)

    def upload(self, destination: str, outcome: Outcome) -> Outcome:
        return upload(self.installation, "models", destination, outcome.snapshot)

    def watch(self, over: threading.Event) -> None:
        while not over.wait(0.002):
            self.peak = max(self.peak, self.installation.spool.used())

    def assert_well(self, *destinations: str) -> None:
        """The spool was never over its quota, and is empty; each destination has it all."""
        assert QUOTA / 4 < self.peak < QUOTA
        originals = originals_of(self._house, "models")
        for destination in destinations:
            assert_restores(self._house, originals, destination)
        assert list((self._house.folder / "state/spool").glob("*/*")) == []


@contextmanager
def small(house: House, patience: float = 30) -> Iterator[Small]:
    over = threading.Event()
    with (
        kinds.registered(),
        mock.patch.dict(os.environ, house.environment),
        mock.patch.object(pack, "TARGET", 3 << 20),
        mock.patch.object(ahead, "_PACK", 4 << 20),
        mock.patch.object(ahead, "PATIENCE", patience),
        mock.patch.object(ahead, "_RETRY_SECONDS", 0.1),
    ):
        made = Small(house)
        thread = threading.Thread(target=made.watch, args=(over,))
        thread.start()
        try:
            yield made
        finally:
            over.set()
            thread.join()


def test_a_source_four_times_the_quota_never_fills_the_spool(house: House) -> None:
    house.configure({"models": models(house, 100)}, {"here": local(house), "offsite": local(house, "offsite")})
    with small(house) as night:
        outcome = night.capture()
        left = night.installation.spool.used()
        for destination in ("here", "offsite"):
            night.upload(destination, outcome)
        night.assert_well("here", "offsite")
    assert outcome.figures["stored_bytes"] > 4 * QUOTA
    assert outcome.figures["sent_ahead_bytes"] >= 2 * (outcome.figures["stored_bytes"] - left)


def test_a_destination_that_is_away_is_left_behind_and_gets_what_it_lacks_from_the_other(house: House) -> None:
    house.configure({"models": models(house, 60)}, {"here": local(house), "offsite": local(house, "offsite")})
    (house.folder / "offsite").rename(house.folder / "unmounted")
    with small(house, patience=2) as night:
        outcome = night.capture()
        night.upload("here", outcome)
        with pytest.raises(Unavailable, match="offsite"):
            night.upload("offsite", outcome)
        (house.folder / "unmounted").rename(house.folder / "offsite")
        night.upload("offsite", outcome)
        night.assert_well("here", "offsite")


def test_a_capture_waits_for_the_destination_it_relies_on_and_goes_on_when_it_is_back(house: House) -> None:
    gate, store = house.folder / "gate", house.folder / "store"
    house.configure({"models": models(house, 60)}, {"here": {"kind": "gated", "path": store, "gate": gate}})
    with small(house, patience=2) as night:
        gate.touch()

        def goes_away() -> None:
            store.rename(house.folder / "unmounted")
            gate.unlink()

        timer = threading.Timer(0.5, goes_away)
        timer.start()
        with pytest.raises(Unavailable, match="which takes nothing"):
            night.capture()
        timer.join()
        assert night.installation.spool.used() > QUOTA / 4
        (house.folder / "unmounted").rename(store)
        night.upload("here", night.capture())
        night.assert_well("here")


def test_a_line_on_which_packs_take_longer_than_a_capture_waits_is_no_destination_that_takes_nothing(
    house: House, s3: S3Server
) -> None:
    secrets = {"access_key": f"file:{s3.folder / 'key'}", "secret_key": f"file:{s3.folder / 'secret'}"}
    far = {"kind": "s3", "bucket": s3.bucket(), "endpoint": s3.url, "path_style": True, **secrets}
    house.configure({"models": models(house, 40)}, {"far": far | {"bytes_a_second": 4 * MEGABYTE}})
    with small(house, patience=1) as night:
        night.upload("far", night.capture())
        night.assert_well("far")


def test_what_waits_for_a_destination_that_stays_away_makes_room_for_the_next_capture(house: House) -> None:
    house.configure({"models": models(house, 10)}, {"here": local(house), "offsite": local(house, "offsite")})
    (house.folder / "offsite").rename(house.folder / "unmounted")
    with small(house, patience=10) as night:  # a busy disk may take seconds for one pack
        night.upload("here", night.capture())
        models(house, 40, seed=1)
        second = night.capture(RUNS[1])
        night.upload("here", second)
        (house.folder / "unmounted").rename(house.folder / "offsite")
        night.upload("offsite", second)
        assert len(night.installation.repository("models", "offsite").snapshots()) == 2
        night.assert_well("here", "offsite")


def test_a_worker_killed_with_packs_half_sent_ahead_is_taken_over_and_nothing_is_left(house: House) -> None:
    gate = house.folder / "gate"
    gate.touch()
    destination = {"kind": "gated", "path": house.folder / "store", "gate": gate}
    house.configure({"models": models(house, 240)}, {"here": destination}, spool_quota="200MB")
    first = house.worker(queues="models,control")
    run = house.start()
    house.wait_for(gate.with_suffix(".reached").exists, "the gate")
    first.kill()
    gate.unlink()
    house.worker(queues="models,control")
    house.worker(queues="transfer,proof")
    house.beat()
    report = house.report(run)
    assert report["state"] == "done", report["failures"]
    assert report["steps"]["backup/models"]["figures"]["sent_ahead_bytes"] > 0
    assert_restores(house, originals_of(house, "models"))
    house.wait_for(lambda: list((house.folder / "state/spool").glob("*/*")) == [], "an empty spool")

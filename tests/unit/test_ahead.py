"""Threads of a capture that wait for room at the same time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks import ahead
from tasks.ahead import Ahead
from tasks.spool import Spool
from tests.repositories import local


def test_one_of_two_that_wait_makes_room_and_the_other_does_not_give_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "PATIENCE", 0.5)
    spool = Spool(tmp_path / "spool")
    with spool.attempt("models", "before") as attempt:
        stored = attempt / "models/packs/aa/pack"
        stored.parent.mkdir(parents=True)
        stored.write_bytes(bytes(100_000))
        sealed = spool.seal(attempt, "snapshot", "here", {})
    spool.settle(sealed, "here", ["here", "offsite"])
    drop = spool.drop_stored

    def slow_drop() -> int:
        time.sleep(1)  # the other one looks five times a second, and finds the spool as full as before
        return drop()

    monkeypatch.setattr(spool, "drop_stored", slow_drop)
    into = local(tmp_path / "spool/models/now")
    with (
        Ahead(into, spool, 100_000, ["here"], open=lambda name: local(tmp_path / name)) as there,
        ThreadPoolExecutor(2) as packing,
    ):
        for put in [packing.submit(there.put, f"packs/aa/{number}", b"of noise") for number in range(2)]:
            put.result(timeout=30)
    assert not stored.exists()

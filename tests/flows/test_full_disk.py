"""The disk of the state folder, or of a destination, is full: what a person is told, and how it goes on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tasks.restore import Wanted, restore
from tests.flows import kinds
from tests.flows.house import House
from tests.flows.terminal import Terminal
from tests.flows.trees import state_of
from tests.unit.sources.conftest import disk_of

__all__ = ["disk_of"]


@pytest.fixture
def full(disk_of: Callable[[int], Path], tmp_path: Path) -> Terminal:
    """After one night, all room but the destination's was taken."""
    home = disk_of(24 << 20) / "home"
    (home / "docs").mkdir(parents=True)
    (home / "docs/read.md").write_text("mine")
    terminal = Terminal(home)
    terminal.run("init", "--destination", tmp_path / "backups")
    terminal.run("run")
    with (home / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return terminal


def test_what_can_not_begin_says_that_there_is_no_room(full: Terminal) -> None:
    for _ in range(3):  # the broker refuses first, later nothing starts at all
        said = full.json("run", code=None)["error"]
        assert said["kind"] in ("NoSpace", "Unavailable")
        assert "no room" in said["message"] or "its disk is full" in said["message"], said
    (spool,) = (each for each in full.json("check", code=1) if each["what"] == "spool")
    assert "No space left" in spool["says"]


def test_once_there_is_room_all_goes_on_and_nothing_is_left(full: Terminal) -> None:
    full.json("run", code=None)
    full.json("check", code=1)
    (full.folder / "filler").unlink()
    assert full.json("run")["state"] == "done"
    assert sorted(path.name for path in (full.folder / ".geometra-backup/spool").iterdir()) == ["docs"]
    full.run("restore", "docs", "--to", "back")
    assert state_of(full.folder / "back/docs") == state_of(full.folder / "docs")


def test_a_full_destination_frees_what_retention_has_let_go_and_the_next_night_has_room(
    house: House, disk_of: Callable[[int], Path]
) -> None:
    disk, original = disk_of(26 << 20), house.folder / "docs"
    original.mkdir()
    nothing = dict.fromkeys(("daily", "weekly", "monthly"), 0)
    house.configure(
        {"docs": {"kind": "docs", "paths": [original]}},
        {"here": {"kind": "local", "path": disk}},
        {"nightly": {"keep": {"last": 1, "within": "1s", **nothing}}},
        grace="1s",
    )
    house.worker()
    states = []
    for changed in (1, 2, 3, 3):
        (original / "weights").write_bytes(random.Random(changed).randbytes(10_000_000))
        report = house.night("nightly")
        states.append((report["state"], report["steps"]["prune/docs/here"]["state"]))
        time.sleep(1.5)  # the grace period
    assert states == [("done", "done"), ("done", "done"), ("failed", "done"), ("done", "done")]
    reports = [house.record.report(run.id) or {} for run in house.record.runs()]
    (failure,) = (failure for report in reports for failure in report["failures"])
    assert (failure["step"], failure["kind"]) == ("upload/docs/here", "NoSpace")
    with kinds.registered():
        restore(house.installation, "docs", "here", Wanted(house.folder / "back"))
    assert state_of(house.folder / "back/docs") == state_of(original)

"""The disk of the state folder is full: what a person is told, and what is left once there is room again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

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

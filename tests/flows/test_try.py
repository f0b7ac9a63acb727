"""The first command of the README: all that it says happens, and it leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.terminal import Terminal


def test_what_is_tried_comes_back_byte_for_byte_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    told = Terminal(tmp_path).json("try", "--megabytes", "4", TMPDIR=str(folder))
    assert told["identical"]
    assert (told["first_night"]["state"], told["second_night"]["state"]) == ("done", "done")
    assert told["first_night"]["sources"].keys() >= {"config", "logs", "models", "docs", "test-data"}
    assert told["compared_facts"] >= 20
    assert 0 < told["second_night"]["stored_bytes"] < told["first_night"]["stored_bytes"]
    assert list(folder.iterdir()) == []


def test_what_is_tried_in_a_folder_stays_to_be_looked_at(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    said = terminal.run("try", "--megabytes", "4", "--folder", "here").stdout
    assert "Drilled every source" in said
    assert "are back, byte for byte" in said
    assert {each["source"] for each in terminal.json("--config", "here/backup.toml", "list")} >= {"config", "models"}
    assert list((tmp_path / "here/scratch").iterdir()) == []
    assert "is not empty" in terminal.run("try", "--folder", "here", code=2).stderr


def test_a_folder_that_cannot_be_made_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = Terminal(tmp_path).complaint("try", "--folder", "file/here", code=77)
    assert f"can't work in `{tmp_path}/file/here` (a file is where one of its folders belongs)" in said


@pytest.mark.needs("prlimit")
def test_a_disk_that_is_full_is_said_to_be(tmp_path: Path) -> None:
    limit = ["prlimit", "--fsize=1000000"]
    assert "no room" in Terminal(tmp_path).run("try", "--folder", "here", code=74, prefix=limit).stderr

"""The machine is gone: what is stored is looked through, and gone on with, by its place and what opens it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.flows.terminal import Terminal
from tests.flows.trees import state_of


@pytest.fixture
def elsewhere(lived: Terminal, tmp_path: Path) -> Terminal:
    """A machine that has what was stored, and the recovery sheet."""
    shutil.copytree(lived.folder / "backups", tmp_path / "disk")
    shutil.copy(lived.folder / "sheet.txt", tmp_path)
    return Terminal(tmp_path)


def test_what_is_stored_is_looked_through_without_a_configuration(lived: Terminal, elsewhere: Terminal) -> None:
    def there(*arguments: str) -> Any:
        return elsewhere.json(*arguments, "--from", "disk", "--recovery-sheet", "sheet.txt")

    def nameless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{name: value for name, value in row.items() if name != "destination"} for row in rows]

    assert nameless(there("list")) == nameless(lived.json("list"))
    assert {row["source"] for row in there("list")} == {"config", "docs"}
    assert there("show", "docs", "--items") == lived.json("show", "docs", "--items")
    assert nameless(there("find", "empty.toml")) == nameless(lived.json("find", "empty.toml"))
    (snapshot,) = [row["snapshot"] for row in there("list", "docs")]
    assert there("diff", "docs", snapshot) == []
    passphrase = (lived.folder / "keys/passphrase").read_text()
    said = elsewhere.run("list", "docs", "--from", "disk", GEOMETRA_BACKUP_PASSPHRASE=passphrase).stdout
    assert snapshot in said


def test_a_place_that_holds_nothing_is_said_to(elsewhere: Terminal) -> None:
    (elsewhere.folder / "empty").mkdir()
    said = elsewhere.complaint("list", "--from", "empty", "--recovery-sheet", "sheet.txt", code=66)
    assert "`empty` holds no repository" in said
    assert "no passphrase" in elsewhere.complaint("list", "--from", "disk", code=78)
    assert "there are config, docs" in elsewhere.complaint(
        "show", "doc", "--from", "disk", "--recovery-sheet", "sheet.txt", code=66
    )


def test_what_else_lies_on_that_disk_is_in_nobodys_way(lived: Terminal, elsewhere: Terminal) -> None:
    (elsewhere.folder / "disk/photos").mkdir()
    (elsewhere.folder / "disk/photos/link").symlink_to("/etc/passwd")
    passphrase = (lived.folder / "keys/passphrase").read_text()
    found = elsewhere.json("list", "--from", "disk", GEOMETRA_BACKUP_PASSPHRASE=passphrase)
    assert {row["source"] for row in found} == {"config", "docs"}
    assert elsewhere.json("init", "--from", "disk", GEOMETRA_BACKUP_PASSPHRASE=passphrase)["stored"] == [
        "config",
        "docs",
    ]
    (elsewhere.folder / "second").mkdir()
    with (elsewhere.folder / "backup.toml").open("a") as file:
        file.write('[destinations.second]\nkind = "local"\npath = "second"\n')
    assert {row["source"] for row in elsewhere.json("mirror", "local", "second")} == {"config", "docs"}


def test_a_new_machine_goes_on_with_the_history_of_a_lost_one(lived: Terminal, elsewhere: Terminal) -> None:
    shutil.copytree(lived.folder / "docs", elsewhere.folder / "docs", symlinks=True)
    wrong = elsewhere.complaint("init", "--from", "disk", code=77, GEOMETRA_BACKUP_PASSPHRASE="another")
    assert "wrong passphrase" in wrong
    assert "--passphrase" in elsewhere.complaint("init", "--from", "disk", code=78)
    assert not (elsewhere.folder / "keys").exists()
    secret = elsewhere.folder / "secret"
    shutil.copy(lived.folder / "keys/passphrase", secret)
    said = elsewhere.run("init", "--from", "disk", "--passphrase", "file:secret").stdout
    assert "disk holds: config, docs" in said
    assert " ".join((lived.folder / "sheet.txt").read_text().split()) in " ".join(said.split())
    assert {finding["state"] for finding in elsewhere.json("check")} == {"good"}
    assert elsewhere.json("run", "--source", "docs")["state"] == "done"
    rows = elsewhere.json("list", "docs")
    assert [row["proven"] for row in rows] == [True, True]
    elsewhere.run("restore", "docs", "--to", "back", "--snapshot", rows[0]["snapshot"])
    assert state_of(elsewhere.folder / "back/docs") == state_of(lived.folder / "docs")


def test_keys_of_ones_own_do_not_fit_what_is_stored_and_the_remedy_is_told(
    lived: Terminal, elsewhere: Terminal
) -> None:
    shutil.copytree(lived.folder / "docs", elsewhere.folder / "docs", symlinks=True)
    elsewhere.run("init", "--destination", "disk")
    (bad,) = [finding for finding in elsewhere.json("check", code=1) if finding["state"] == "bad"]
    assert bad["what"] == "repository docs at local"
    assert "`init --from`" in str(bad)

"""Restoring the newest where the first destination lacks nights, as one whose disk was away."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.flows.terminal import Terminal
from tests.flows.test_verbs import TEXT, install, installed, night
from tests.repositories import PASSPHRASE

__all__ = ["installed"]


@pytest.fixture
def home(installed: object, tmp_path: Path) -> Terminal:
    """Two nights at both destinations, and a third, for which a file was made, at the second one alone."""
    ours = install(tmp_path)
    for days_ago in (9, 8):
        night(ours, days_ago)
    (tmp_path / "originals/docs/new.md").write_text("new")
    night(ours, 1, "offsite")
    (tmp_path / "backup.toml").write_text(TEXT)
    return Terminal(tmp_path)


def restored(home: Terminal, *arguments: str) -> tuple[bool, str]:
    """Whether the new file came back, and what was told beside."""
    into = home.folder / "back"
    said = home.run("restore", "docs", "--to", into, *arguments, GEOMETRA_BACKUP_PASSPHRASE=PASSPHRASE).stderr
    return (into / "docs/new.md").exists(), said


def test_it_comes_from_where_it_is(home: Terminal) -> None:
    came, said = restored(home)
    assert came
    assert "`here` does not hold the newest" in said
    assert "that comes from `offsite`" in said


def test_what_was_the_newest_at_a_time_comes_from_the_first_that_holds_it(home: Terminal) -> None:
    assert restored(home, "--at", "3 days ago") == (False, "")


def test_a_snapshot_that_is_named_comes_from_where_it_is(home: Terminal) -> None:
    """As all the older ones are, once another disk has been put in front of the old one."""
    (newest,) = (row["snapshot"] for row in home.json("list", "docs", "-d", "offsite")[-1:])
    (oldest,) = (row["snapshot"] for row in home.json("list", "docs", "-d", "here")[:1])
    assert restored(home, "--snapshot", newest) == (True, "")
    assert home.json("show", "docs", newest)["destination"] == "offsite"
    assert home.json("show", "docs", oldest)["destination"] == "here"
    changes = [(row["change"], row["path"]) for row in home.json("diff", "docs", oldest, newest)]
    assert ("+", "docs/new.md") in changes
    assert "has no snapshot `2001`" in home.complaint("show", "docs", "2001", code=66)


def test_a_snapshot_that_is_named_is_verified_where_it_is(home: Terminal) -> None:
    (newest,) = (row["snapshot"] for row in home.json("list", "docs", "-d", "offsite")[-1:])
    verify = ("verify", "docs", "--snapshot")
    proven = home.json(*verify, newest, GEOMETRA_BACKUP_PASSPHRASE=PASSPHRASE)
    assert [(each["destination"], each["state"]) for each in proven] == [("offsite", "done")]
    failed = home.json(*verify, "2001", code=66, GEOMETRA_BACKUP_PASSPHRASE=PASSPHRASE)
    assert [(each["destination"], each["state"]) for each in failed] == [("here", "failed"), ("offsite", "failed")]


def test_that_nothing_was_uploaded_to_one_hides_not_that_another_is_away(home: Terminal) -> None:
    shutil.rmtree(home.folder / "offsite/docs")
    shutil.rmtree(home.folder / ".geometra-backup/cache/offsite")
    (home.folder / "here").rename(home.folder / "away")
    for command in ("show", "restore"):
        said = home.complaint(command, "docs", code=75, GEOMETRA_BACKUP_PASSPHRASE=PASSPHRASE)
        assert "mount its disk" in said


def test_a_destination_that_is_named_is_asked_alone(home: Terminal) -> None:
    assert restored(home, "--destination", "here") == (False, "")


def test_one_that_is_away_or_empty_changes_nothing(home: Terminal) -> None:
    (home.folder / "here").rename(home.folder / "away")
    assert restored(home) == (True, "")
    (home.folder / "here").mkdir()
    (home.folder / "offsite").rename(home.folder / "gone")
    home.run("restore", "docs", code=75, GEOMETRA_BACKUP_PASSPHRASE=PASSPHRASE)


def test_it_needs_no_more_keys_than_a_restore(home: Terminal) -> None:
    (home.folder / "keys/writer.key").unlink()
    assert restored(home)[0]
    assert "wrong passphrase" in home.complaint("restore", "docs", code=77, GEOMETRA_BACKUP_PASSPHRASE="no")

"""A night for which a clock was years ahead: its snapshot hides none that follow, and goes when it is told to."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner, Result

from tasks.capture import capture
from tasks.chosen import chosen_snapshot
from tasks.configuration import load
from tasks.errors import Damaged
from tasks.installation import PASSPHRASE, Installation
from tasks.record import Run
from tasks.upload import upload
from tasks.verify import verify
from tests.repositories import PASSPHRASE as RIGHT
from tests.repositories import keys
from workers.cli.main import group
from workers.metrics import Reading, read

TEXT = """
[sources.docs]
kind = "docs"
paths = ["documents"]
[destinations.here]
kind = "local"
path = "store"
[plans.hourly]
schedule = "MINUTE * * * *"
"""
NOW = datetime.now(UTC)
YEARS = timedelta(days=3650)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PASSPHRASE, RIGHT)
    monkeypatch.setenv("GEOMETRA_BACKUP_CONFIG", "")  # a command sets it for its process, which is this one
    monkeypatch.delenv("GEOMETRA_BACKUP_BROKER", raising=False)
    for name in ("keys", "store", "documents"):
        (tmp_path / name).mkdir()
    keys().put_into(tmp_path / "keys")
    # Half an hour away: no hour begins between the import of this and its tests.
    (tmp_path / "backup.toml").write_text(TEXT.replace("MINUTE", str((NOW.minute + 30) % 60)))
    return tmp_path


class Ahead(datetime):
    """The clock of who verifies."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Ahead:
        there = datetime.now(tz) + YEARS
        return cls.fromtimestamp(there.timestamp(), tz)


def night(folder: Path, name: str, when: datetime) -> str:
    """Captured, uploaded and proven; the snapshot's id."""
    house = Installation(load(folder / "backup.toml"))
    (folder / "documents/text").write_text(name)
    made = capture(house, "docs", Run(name, "hourly", name, when, ()), now=when).snapshot
    upload(house, "docs", "here")
    verify(house, "docs", "here", made)
    return made


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(group, ["-c", str(folder / "backup.toml"), *arguments], catch_exceptions=False)


def test_it_is_never_the_newest_whoever_asks(folder: Path) -> None:
    old, ahead = night(folder, "old", NOW - timedelta(days=2)), night(folder, "ahead", NOW + YEARS)
    house = Installation(load(folder / "backup.toml"))
    assert [each.id for each in house.repository("docs", "here").snapshots()] == [ahead, old]
    assert chosen_snapshot(house.repository("docs", "here"), "", "here").id == old
    shown = run(folder, "show", "docs", "--json")
    assert json.loads(shown.stdout)["id"] == old
    assert f"`{ahead}` is dated ahead" in shown.stderr
    later = night(folder, "later", NOW - timedelta(days=1))
    assert chosen_snapshot(house.repository("docs", "here"), "", "here").id == later


def test_where_all_are_ahead_the_newest_of_them_is_meant(folder: Path) -> None:
    night(folder, "first", NOW + YEARS)
    second = night(folder, "second", NOW + 2 * YEARS)
    shown = run(folder, "show", "docs", "--json")
    assert (json.loads(shown.stdout)["id"], shown.stderr) == (second, "")


def test_nights_that_are_missing_since_are_missed(folder: Path) -> None:
    old = NOW - timedelta(days=2)
    night(folder, "old", old)
    night(folder, "ahead", NOW + YEARS)
    status = json.loads(run(folder, "status", "--json").stdout)
    assert not status["good"]
    assert "nothing proven since" in status["sources"][0]["problem"]
    place = read(Installation(load(folder / "backup.toml")), Reading(), NOW).places["docs", "here"]
    assert (place.success, place.proven) == (old.timestamp(), old.timestamp())
    night(folder, "good", NOW)
    assert json.loads(run(folder, "status", "--json").stdout)["good"]


def test_nothing_else_is_nothing_yet(folder: Path) -> None:
    night(folder, "ahead", NOW + YEARS)
    status = json.loads(run(folder, "status", "--json").stdout)["sources"][0]
    assert (status["good"], status["problem"]) == (False, "nothing is proven yet")
    place = read(Installation(load(folder / "backup.toml")), Reading(), NOW).places["docs", "here"]
    assert (place.success, place.proven) == (0, 0)


def test_it_is_let_go_by_name_once_something_else_is_proven(folder: Path) -> None:
    ahead = night(folder, "ahead", NOW + YEARS)
    with pytest.raises(Exception, match="is proven"):
        run(folder, "prune", "docs", "--forget", ahead)
    good = night(folder, "good", NOW)
    with pytest.raises(Exception, match="is proven"):
        run(folder, "prune", "docs", "--forget", good)
    run(folder, "prune", "docs", "--forget", ahead)
    assert Installation(load(folder / "backup.toml")).repository("docs", "here").snapshot_ids() == [good]


def test_what_a_verify_finds_later_counts_and_not_what_one_found_that_was_ahead(folder: Path) -> None:
    made = night(folder, "good", NOW)
    with mock.patch("tasks.verify.datetime", Ahead):
        verify(Installation(load(folder / "backup.toml")), "docs", "here", made)
    packs = {path: path.read_bytes() for path in (folder / "store/docs/packs").glob("*/*")}
    for path, content in packs.items():
        path.write_bytes(content[:-9] + bytes(9))
    with pytest.raises(Damaged):
        verify(Installation(load(folder / "backup.toml")), "docs", "here", made)
    status = json.loads(run(folder, "status", "--json").stdout)["sources"][0]
    assert (status["good"], status["problem"]) == (False, "nothing is proven yet")
    assert [row["proven"] for row in json.loads(run(folder, "list", "docs", "--json").stdout)] == [False]

"""A pack that is damaged at a second destination, at which uploads may not delete: what prunes there replaces it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest

from tasks.capture import capture
from tasks.configuration import parse
from tasks.destinations import Local
from tasks.errors import Condemned, Damaged, Refused
from tasks.installation import Installation
from tasks.prune import prune
from tasks.record import Run
from tasks.restore import Wanted, restore
from tasks.upload import upload
from tasks.verify import verify
from tests.flows.terminal import Terminal
from tests.flows.trees import state_of
from tests.repositories import PASSPHRASE, keys

NOW = datetime.now(UTC).replace(microsecond=0)
TEXT = """
[sources.docs]
kind = "docs"
paths = ["originals/docs"]
[destinations.here]
kind = "local"
path = "here"
[destinations.far]
kind = "local"
path = "far"
"""


@dataclass
class Home:
    folder: Path
    installation: Installation

    def night(self, number: int) -> str:
        """By uploads that may not delete."""
        started = NOW - timedelta(days=9 - number)
        (self.folder / f"originals/docs/of-{number}").write_bytes(secrets.token_bytes(300_000))
        captured = capture(self.installation, "docs", Run(f"run-{number}", "", "", started, ()), now=started)
        with _nothing_is_deleted():
            for place in ("here", "far"):
                upload(self.installation, "docs", place, captured.snapshot)
        return captured.snapshot

    def pack(self, place: str) -> Path:
        """The one that holds the file of the first night."""
        found = max((self.folder / place / "docs/packs").glob("*/*"), key=lambda path: path.stat().st_size)
        return Path(found)

    def verify_damaged(self, place: str) -> None:
        with pytest.raises(Damaged):
            verify(self.installation, "docs", place, everything=True)


@contextmanager
def _nothing_is_deleted() -> Iterator[None]:
    def refuse(self: Local, name: str) -> None:
        if name.startswith("docs/packs/"):
            raise Refused(f"`{name}` may not be deleted")
        delete(self, name)

    delete = Local.delete
    with mock.patch.object(Local, "delete", refuse):
        yield


def _spoil(path: Path, at: int = 1000) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.unlink()
    path.write_bytes(data)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    for name in ("keys", "here", "far", "originals/docs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "keys/keyring.json").write_bytes(keys().document)
    (tmp_path / "keys/writer.key").write_text(keys().writer.to_text())
    return Home(tmp_path, Installation(parse(TEXT, tmp_path / "backup.toml"), passphrase=PASSPHRASE))


def test_is_replaced_by_the_prune_after_the_upload_that_needed_it(home: Home) -> None:
    first = home.night(0)
    _spoil(home.pack("far"))
    home.verify_damaged("far")
    with pytest.raises(Condemned, match="prune there"):
        home.night(1)
    assert prune(home.installation, "docs", "far").figures["healed"] == 1
    last = home.night(2)
    assert verify(home.installation, "docs", "far", everything=True).state == "done"
    restore(home.installation, "docs", "far", Wanted(home.folder / "back"), snapshot=last)
    assert state_of(home.folder / "back") == state_of(home.folder / "originals")
    assert first in home.installation.repository("docs", "far").snapshot_ids()
    assert "healed" not in prune(home.installation, "docs", "far").figures


def test_is_never_replaced_by_one_that_is_damaged_too(home: Home) -> None:
    """Or what can still be read of it would be lost, and it would count as whole."""
    home.night(0)
    _spoil(home.pack("far"))
    home.verify_damaged("far")
    _spoil(home.pack("here"), 200_000)
    left = home.pack("far").read_bytes()
    assert "healed" not in prune(home.installation, "docs", "far").figures
    assert home.pack("far").read_bytes() == left
    home.verify_damaged("far")


def test_a_destination_that_can_not_be_asked_stops_no_prune(home: Home) -> None:
    home.night(0)
    _spoil(home.pack("far"))
    home.verify_damaged("far")
    (home.folder / "here").rename(home.folder / "away")
    prune(home.installation, "docs", "far")
    (home.folder / "away").rename(home.folder / "here")
    assert prune(home.installation, "docs", "far").figures["healed"] == 1
    assert verify(home.installation, "docs", "far", everything=True).state == "done"


def test_the_command_replaces_it_and_a_dry_run_changes_nothing(copied: Terminal) -> None:
    with (copied.folder / "backup.toml").open("a") as file:
        file.write('\n[destinations.disk]\nkind = "local"\npath = "disk"\n')
    (copied.folder / "disk").mkdir()
    copied.json("mirror", "local", "disk")
    _spoil(max((copied.folder / "disk/docs/packs").glob("*/*"), key=lambda path: path.stat().st_size), 300)
    copied.run("verify", "docs", "--everything", "-d", "disk", code=65)
    copied.run("prune", "docs", "-d", "disk", "--dry-run")
    copied.run("verify", "docs", "--everything", "-d", "disk", code=65)
    copied.run("prune", "docs", "-d", "disk")
    copied.run("verify", "docs", "--everything", "-d", "disk")

"""Captures that wait for one destination, and rely on another one that is away, or none any more."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.capture import capture
from tasks.configuration import parse
from tasks.errors import Unavailable
from tasks.installation import Installation
from tasks.outcome import Outcome
from tasks.record import Run
from tasks.restore import Wanted, restore
from tasks.upload import upload
from tests.flows.trees import state_of
from tests.repositories import PASSPHRASE, keys

NOW = datetime.now(UTC).replace(microsecond=0)
PLACES = ("here", "far")


@dataclass
class Home:
    folder: Path

    def installation(self, *places: str) -> Installation:
        """As it is after these are all that is left in backup.toml."""
        text = '[sources.docs]\nkind = "docs"\npaths = ["originals/docs"]\n'
        text += "".join(f'[destinations.{name}]\nkind = "local"\npath = "{name}"\n' for name in places or PLACES)
        return Installation(parse(text, self.folder / "backup.toml"), passphrase=PASSPHRASE)

    def capture(self, number: int, *places: str) -> str:
        started = NOW - timedelta(days=9 - number)
        (self.folder / f"originals/docs/of-{number}").write_bytes(secrets.token_bytes(100_000))
        run = Run(f"run-{number}", "", "", started, ())
        return capture(self.installation(*places), "docs", run, now=started).snapshot

    def upload(self, place: str, snapshot: str, *places: str) -> Outcome:
        return upload(self.installation(*places), "docs", place, snapshot)

    def night(self, number: int) -> str:
        snapshot = self.capture(number)
        for place in PLACES:
            self.upload(place, snapshot)
        return snapshot

    def goes(self, place: str) -> None:
        (self.folder / place).rename(self.folder / f"{place}-away")

    def is_back(self, place: str) -> None:
        (self.folder / f"{place}-away").rename(self.folder / place)

    def waiting(self) -> list[Path]:
        return list(self.installation().spool.folder.glob("*/*"))

    def assert_restores(self, place: str, snapshot: str, state: dict[str, Any] | None = None) -> None:
        into = self.folder / "restored" / snapshot
        restore(self.installation(), "docs", place, Wanted(into), snapshot=snapshot)
        assert state_of(into) == (state or state_of(self.folder / "originals"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    for name in ("keys", "here", "far", "originals/docs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "keys/keyring.json").write_bytes(keys().document)
    (tmp_path / "keys/writer.key").write_text(keys().writer.to_text())
    return Home(tmp_path)


def missed_far(home: Home, number: int) -> str:
    """A night whose snapshot is here alone."""
    home.goes("far")
    snapshot = home.capture(number)
    home.upload("here", snapshot)
    home.is_back("far")
    return snapshot


def test_a_destination_that_missed_a_night_takes_all_while_the_first_one_is_away(home: Home) -> None:
    home.night(0)
    missed = missed_far(home, 1)
    home.goes("here")
    tonight = home.capture(2)
    assert home.upload("far", tonight).state == "done"
    assert home.installation().repository("docs", "far").snapshot_ids()[-2:] == [missed, tonight]
    home.assert_restores("far", tonight)
    home.is_back("here")
    assert home.upload("here", tonight).state == "done"
    assert home.waiting() == []


def test_what_only_the_one_that_is_away_has_waits_and_tonight_is_brought(home: Home) -> None:
    (home.folder / "originals/docs/old").write_bytes(secrets.token_bytes(100_000))
    first = home.capture(0)
    home.upload("here", first)
    home.installation().spool.drop_stored()  # as a capture that needs the room does
    home.goes("here")
    tonight = home.capture(1)
    done = home.upload("far", tonight)
    assert done.state == "incomplete"
    assert f"{first} of an earlier run is not here yet: it relies on `here`" in done.flaws[0]
    home.assert_restores("far", tonight)
    with pytest.raises(Unavailable, match="it relies on `here`"):
        home.upload("far", first)
    home.is_back("here")
    assert home.upload("far", tonight).state == "done"
    assert home.installation().repository("docs", "far").snapshot_ids() == [first, tonight]


def test_what_relied_on_a_destination_that_was_removed_is_brought(home: Home) -> None:
    home.night(0)
    missed = missed_far(home, 1)
    home.goes("here")
    tonight = home.capture(2, "far")
    assert home.upload("far", tonight, "far").state == "done"
    assert home.installation().repository("docs", "far").snapshot_ids()[-2:] == [missed, tonight]
    home.assert_restores("far", tonight)
    assert home.waiting() == []


def test_what_waits_for_a_destination_that_was_removed_leaves_the_spool(home: Home) -> None:
    home.night(0)
    missed_far(home, 1)
    tonight = home.capture(2, "here")
    assert len(home.waiting()) == 2
    home.upload("here", tonight, "here")
    assert home.waiting() == []


def test_what_relied_on_a_destination_that_begins_anew_is_brought(home: Home) -> None:
    for number, place in enumerate(PLACES):  # each in packs of its own, as after prunes
        home.upload(place, home.capture(number, place), place)
    missed = missed_far(home, 2)
    state = state_of(home.folder / "originals")
    home.goes("here")
    (home.folder / "here").mkdir()
    shutil.rmtree(home.installation().settings.state / "cache/here")
    (home.folder / "originals/docs/of-0").unlink()
    tonight = home.capture(3)
    home.upload("here", tonight)
    assert home.upload("far", tonight).state == "done"
    assert home.installation().repository("docs", "far").snapshot_ids()[-2:] == [missed, tonight]
    home.assert_restores("far", missed, state)

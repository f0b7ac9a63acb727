"""An index object that rots where it is stored: this host's copy must not hide it, nobody hands it on, and it is made
anew. Each case ends with a restore by who has nothing but the destination and the passphrase."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.capture import capture
from tasks.configuration import parse
from tasks.errors import Damaged
from tasks.installation import Installation
from tasks.mirror import mirror
from tasks.prune import prune
from tasks.record import Run
from tasks.restore import Wanted, restore
from tasks.upload import upload
from tasks.verify import verify
from tests.flows.trees import grow, state_of
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
DAMAGES: dict[str, Callable[[Path], None]] = {
    "zeroed": lambda path: _write(path, bytes(path.stat().st_size)),
    "emptied": lambda path: _write(path, b""),
    "lost": Path.unlink,
}


def _write(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


@dataclass
class Home:
    """A source with a new file each night, and its two destinations."""

    folder: Path
    installation: Installation
    taken: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.installation.settings.state

    def capture(self) -> str:
        number = len(self.taken)
        started = NOW - timedelta(days=9 - number)
        (self.folder / f"originals/docs/of-{number}").write_bytes(secrets.token_bytes(300_000))
        captured = capture(self.installation, "docs", Run(f"run-{number}", "", "", started, ()), now=started)
        self.taken[captured.snapshot] = state_of(self.folder / "originals")
        return captured.snapshot

    def night(self, *places: str) -> str:
        snapshot = self.capture()
        for place in places or ("here",):
            upload(self.installation, "docs", place, snapshot)
        return snapshot

    def indexes(self, place: str) -> set[Path]:
        return set((self.folder / place / "docs/index").iterdir())

    def damage(self, place: str, how: str = "zeroed") -> set[Path]:
        damaged = self.indexes(place)
        for path in damaged:
            DAMAGES[how](path)
        return damaged

    def forget_copies(self) -> None:
        shutil.rmtree(self.state / "cache")

    def lose_state(self) -> None:
        self.state.rename(self.folder / secrets.token_hex(4))

    def assert_restores(self, place: str, *snapshots: str) -> None:
        """Without anything that this machine has kept."""
        self.lose_state()
        for snapshot in snapshots or self.taken:
            into = self.folder / "restored" / place / snapshot
            restore(self.installation, "docs", place, Wanted(into), snapshot=snapshot)
            assert state_of(into) == self.taken[snapshot]
        assert verify(self.installation, "docs", place, everything=True).state == "done"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    for name in ("keys", "here", "far"):
        (tmp_path / name).mkdir()
    keys().put_into(tmp_path / "keys")
    grow(tmp_path / "originals/docs")
    return Home(tmp_path, Installation(parse(TEXT, tmp_path / "backup.toml"), passphrase=PASSPHRASE))


@pytest.mark.parametrize("copies", [True, False], ids=["with this host's copy", "from the packs alone"])
@pytest.mark.parametrize("how", DAMAGES)
def test_what_a_verify_finds_damaged_or_lost_of_the_index_is_made_anew(home: Home, how: str, copies: bool) -> None:
    home.night()
    home.night()
    damaged = home.damage("here", how)
    if not copies:
        home.forget_copies()
    with pytest.raises(Damaged, match="indexed anew"):
        verify(home.installation, "docs", "here")
    assert verify(home.installation, "docs", "here").state == "done"
    if how != "lost":
        assert damaged < home.indexes("here"), "whoever verifies may perhaps not delete"
    home.night()
    assert verify(home.installation, "docs", "here").state == "done"
    prune(home.installation, "docs", "here")
    assert not damaged & home.indexes("here")
    home.assert_restores("here")


def test_nights_that_relied_on_a_copy_of_a_damaged_index_are_restored_without_it(home: Home) -> None:
    home.night()
    home.damage("here")
    home.night()
    with pytest.raises(Damaged):
        verify(home.installation, "docs", "here")
    for _ in range(2):
        home.night()
        assert verify(home.installation, "docs", "here").state == "done"
        prune(home.installation, "docs", "here")
    home.assert_restores("here")


def test_a_machine_that_lost_its_copies_stores_again_and_is_good_again(home: Home) -> None:
    home.night()
    home.damage("here")
    home.lose_state()
    home.night()
    with pytest.raises(Damaged):
        verify(home.installation, "docs", "here")
    home.night()
    assert verify(home.installation, "docs", "here").state == "done"
    prune(home.installation, "docs", "here")
    home.assert_restores("here")


def test_a_prune_before_any_verify_names_the_damaged_index_and_deletes_nothing(home: Home) -> None:
    home.night()
    (damaged,) = home.damage("here")
    home.forget_copies()
    before = sorted((home.folder / "here").rglob("*"))
    with pytest.raises(Damaged, match=rf"index/{damaged.name}.*run `verify` first"):
        prune(home.installation, "docs", "here")
    assert sorted((home.folder / "here").rglob("*")) == before


def test_a_mirror_sends_what_a_copy_knows_and_never_a_damaged_index(home: Home) -> None:
    home.night()
    damaged = home.damage("here")
    assert mirror(home.installation, "docs", "here", "far").state == "done"
    assert not {path.name for path in damaged} & {path.name for path in home.indexes("far")}
    home.assert_restores("far")


def test_a_mirror_without_a_copy_says_what_it_could_not_bring_and_brings_it_after_a_verify(home: Home) -> None:
    snapshot = home.night()
    home.damage("here")
    home.forget_copies()
    done = mirror(home.installation, "docs", "here", "far")
    assert (done.state, done.figures["snapshots"]) == ("incomplete", 0)
    assert snapshot in done.flaws[0]
    with pytest.raises(Damaged):
        verify(home.installation, "docs", "here")
    assert mirror(home.installation, "docs", "here", "far").state == "done"
    home.assert_restores("far")


def test_a_damaged_index_in_the_spool_is_not_uploaded_and_the_next_destination_is_whole(home: Home) -> None:
    home.night("here", "far")
    snapshot = home.capture()
    (index,) = (home.state / "spool/docs").glob("run-1/attempt-*/docs/index/*")
    upload(home.installation, "docs", "here", snapshot)
    _write(index, b"")
    assert upload(home.installation, "docs", "far", snapshot).state == "done"
    assert index.name not in {path.name for path in home.indexes("far")}
    home.assert_restores("far")


def test_what_was_sent_damaged_is_healed_where_it_lies(home: Home) -> None:
    """As earlier builds did it."""
    home.night()
    home.night("here", "far")
    home.damage("far")
    home.forget_copies()
    with pytest.raises(Damaged):
        verify(home.installation, "docs", "far")
    assert verify(home.installation, "docs", "far").state == "done"
    prune(home.installation, "docs", "far")
    home.assert_restores("far")


def test_a_mirror_names_anew_what_no_index_over_there_tells(home: Home) -> None:
    home.night()
    home.night("here", "far")
    home.damage("far")
    home.forget_copies()
    assert mirror(home.installation, "docs", "here", "far").state == "done"
    assert verify(home.installation, "docs", "far").state == "done"
    prune(home.installation, "docs", "far")
    home.assert_restores("far")

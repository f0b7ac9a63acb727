"""One destination brought level with another by hand: all of the history, by who may not read any of it."""

from __future__ import annotations

import secrets
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.capture import capture
from tasks.configuration import parse
from tasks.destinations import Local
from tasks.errors import Damaged, Missing, NotARepository, NotFound, Refused, SettingsError, Unavailable
from tasks.installation import Installation
from tasks.mirror import mirror
from tasks.outcome import Outcome
from tasks.record import Run
from tasks.restore import Wanted, restore
from tasks.upload import upload
from tasks.verify import verify
from tests.flows.house import House
from tests.flows.terminal import Terminal
from tests.flows.trees import grow, state_of
from tests.repositories import PASSPHRASE, keys

NOW = datetime.now(UTC).replace(microsecond=0)
TEXT = """
[keys]
passphrase = "env:NOBODY_HAS_IT"
[sources.docs]
kind = "docs"
paths = ["originals/docs"]
destinations = ["here"]
[destinations.here]
kind = "local"
path = "here"
[destinations.disk]
kind = "local"
path = "disk"
"""


@pytest.fixture
def writer(tmp_path: Path) -> Installation:
    """One whose passphrase is not there: with the writer's key alone."""
    for name in ("keys", "here", "disk"):
        (tmp_path / name).mkdir()
    keys().put_into(tmp_path / "keys")
    return Installation(parse(TEXT, tmp_path / "backup.toml"))


def nights(writer: Installation, folder: Path, count: int) -> dict[str, Any]:
    """The originals as they were at each snapshot."""
    grow(folder / "originals/docs")
    taken = {}
    for days in reversed(range(count)):
        (folder / f"originals/docs/of-{days}").write_bytes(secrets.token_bytes(300_000))
        started = NOW - timedelta(days=days)
        captured = capture(writer, "docs", Run(f"run-{days}", "", "", started, ()), now=started)
        upload(writer, "docs", "here", captured.snapshot)
        taken[captured.snapshot] = state_of(folder / "originals")
    return taken


def test_a_new_destination_gets_the_whole_history_and_restores_each_night(writer: Installation, tmp_path: Path) -> None:
    taken = nights(writer, tmp_path, 3)
    told: list[dict[str, float]] = []
    done = mirror(writer, "docs", "here", "disk", progress=told.append)
    assert (done.state, done.figures["snapshots"], done.figures["skipped"]) == ("done", 3, 0)
    assert told[-1]["done_bytes"] == told[-1]["total_bytes"] > 0
    with pytest.raises(SettingsError, match="NOBODY_HAS_IT"):
        verify(writer, "docs", "disk")
    reader = Installation(writer.settings, passphrase=PASSPHRASE)
    for snapshot, state in taken.items():
        into = tmp_path / "restored" / snapshot
        restore(reader, "docs", "disk", Wanted(into), snapshot=snapshot)
        assert state_of(into) == state
    assert verify(reader, "docs", "disk", everything=True).state == "done"

    again = mirror(writer, "docs", "here", "disk")
    assert (again.figures["snapshots"], again.figures["skipped"], again.figures["sent_bytes"]) == (0, 3, 0)


def test_a_damaged_night_is_named_and_the_others_come(writer: Installation, tmp_path: Path) -> None:
    first, second, third = nights(writer, tmp_path, 3)
    (pack,) = {*writer.repository("docs", "here").snapshot(second).packs} & {
        path.name for path in (tmp_path / "here/docs/packs").glob("*/*") if path.stat().st_size > 250_000
    }
    damaged = tmp_path / "here/docs/packs" / pack[:2] / pack
    content = damaged.read_bytes()
    damaged.chmod(0o600)
    damaged.write_bytes(content[:-50] + bytes(50))
    done = mirror(writer, "docs", "here", "disk")
    # The third night holds what the second added.
    assert done.state == "incomplete"
    assert [flaw.split()[0] for flaw in done.flaws] == [second, third]
    assert all(pack in flaw for flaw in done.flaws)
    assert writer.repository("docs", "disk").snapshot_ids() == [first]
    damaged.write_bytes(content)
    assert mirror(writer, "docs", "here", "disk").figures["snapshots"] == 2


def test_what_a_prune_lets_go_meanwhile_is_not_missed(writer: Installation, tmp_path: Path) -> None:
    first, second, third = nights(writer, tmp_path, 3)
    disk = writer.destination("disk", "docs")
    mirror(writer, "docs", "here", "disk")
    for name in [f"snapshots/{second}", f"snapshots/{third}", *(each.name for each in disk.list("packs/"))]:
        disk.delete(name)
    at = writer.destination("here", "docs")

    def let_go(figures: dict[str, float]) -> None:
        for name in (first, third):
            with suppress(Missing):
                at.delete(f"snapshots/{name}")

    done = mirror(writer, "docs", "here", "disk", progress=let_go)
    assert (done.state, done.flaws, done.figures["snapshots"]) == ("done", (), 1)
    assert writer.repository("docs", "disk").snapshot_ids() == [first, second]


def test_two_folders_on_one_disk_share_no_file(writer: Installation, tmp_path: Path) -> None:
    """Or what spoils one copy would spoil both."""
    nights(writer, tmp_path, 2)
    mirror(writer, "docs", "here", "disk")
    files = [path for path in (tmp_path / "disk").rglob("*") if path.is_file()]
    assert files
    assert {path.stat().st_nlink for path in files} == {1}


def test_what_was_lost_or_damaged_over_there_is_brought_again(writer: Installation, tmp_path: Path) -> None:
    """Not by a night: what only old snapshots hold, no source has any more."""
    taken = nights(writer, tmp_path, 4)
    assert mirror(writer, "docs", "here", "disk").figures["snapshots"] == 4
    first, second, third, _ = taken
    lost, rotten = (_pack_of(writer, tmp_path / "disk", snapshot) for snapshot in (first, second))
    lost.unlink()
    rotten.write_bytes(rotten.read_bytes()[:200] + bytes(5000) + rotten.read_bytes()[5200:])
    (tmp_path / "disk/docs/snapshots" / third).write_bytes(b"")
    reader = Installation(writer.settings, passphrase=PASSPHRASE)
    with pytest.raises(Damaged):
        verify(reader, "docs", "disk", everything=True)

    done = mirror(writer, "docs", "here", "disk")
    assert (done.state, done.figures["snapshots"], done.figures["skipped"]) == ("done", 1, 3)
    assert verify(reader, "docs", "disk", everything=True).state == "done"
    for snapshot, state in taken.items():
        restore(reader, "docs", "disk", Wanted(tmp_path / "restored" / snapshot), snapshot=snapshot)
        assert state_of(tmp_path / "restored" / snapshot) == state


def test_what_stays_damaged_over_there_is_never_called_done(
    writer: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = nights(writer, tmp_path, 2)
    mirror(writer, "docs", "here", "disk")
    rotten = _pack_of(writer, tmp_path / "disk", first)
    rotten.write_bytes(rotten.read_bytes()[:200] + bytes(5000) + rotten.read_bytes()[5200:])
    with pytest.raises(Damaged):
        verify(Installation(writer.settings, passphrase=PASSPHRASE), "docs", "disk", everything=True)
    (tmp_path / "disk/docs/snapshots" / second).write_bytes(b"")

    def refuse(self: Local, name: str) -> None:
        raise Refused(f"`{name}` may not be deleted")

    with monkeypatch.context() as rights:
        rights.setattr(Local, "delete", refuse)
        done = mirror(writer, "docs", "here", "disk")
    assert (done.state, done.figures["snapshots"]) == ("incomplete", 0)
    brought, stays = done.flaws
    assert second in brought
    assert rotten.name in stays


def _pack_of(writer: Installation, folder: Path, snapshot: str) -> Path:
    """The one that holds the file which that night added."""
    named = writer.repository("docs", folder.name).snapshot(snapshot).packs
    (found,) = (
        path for path in (folder / "docs/packs").glob("*/*") if path.name in named and path.stat().st_size > 250_000
    )
    found.chmod(0o600)
    return found


def test_it_only_goes_between_two_that_are_there(writer: Installation, tmp_path: Path) -> None:
    with pytest.raises(NotARepository):
        mirror(writer, "docs", "here", "disk")
    nights(writer, tmp_path, 1)
    with pytest.raises(NotFound, match="itself"):
        mirror(writer, "docs", "here", "here")
    with pytest.raises(NotFound, match="no destination `nowhere`; known: here, disk"):
        mirror(writer, "docs", "here", "nowhere")
    with pytest.raises(NotFound, match="no source"):
        mirror(writer, "nothing", "here", "disk")
    (tmp_path / "disk").rmdir()
    with pytest.raises(Unavailable, match="mount its disk"):
        mirror(writer, "docs", "here", "disk")


def test_the_command_says_what_it_brought_and_what_is_wrong(copied: Terminal) -> None:
    with (copied.folder / "backup.toml").open("a") as file:
        file.write('\n[destinations.disk]\nkind = "local"\npath = "disk"\n')
    copied.edit("[sources.docs]", '[sources.new]\nkind = "docs"\npaths = ["docs"]\n\n[sources.docs]')
    said = copied.run("mirror", "local", "disk", "docs", code=75).stdout
    assert "mount its disk" in said
    (copied.folder / "disk").mkdir()
    made = copied.json("mirror", "local", "disk")
    assert [(each["source"], each["state"], each["figures"]["snapshots"]) for each in made] == [
        ("config", "done", 1),
        ("docs", "done", 1),
    ]
    assert "0 snapshots brought, 1 were there" in copied.run("mirror", "local", "disk", "docs").stdout
    assert "same" in copied.run("mirror", "disk", "disk", code=2).stderr
    assert copied.json("mirror", "local", "elsewhere", code=66)[0]["failure"]["kind"] == "NotFound"


def test_a_source_with_another_name_goes_on_at_a_new_destination_as_well(lived: Terminal, copied: Terminal) -> None:
    """All that is stored is sealed for the name that it had: begun as another, what came there could not be read."""
    with (copied.folder / "backup.toml").open("a") as file:
        file.write('\n[destinations.disk]\nkind = "local"\npath = "disk"\n')
        file.write('\n[destinations.third]\nkind = "local"\npath = "third"\n')
    copied.edit("[sources.docs]\n", '[sources.papers]\ndestinations = ["local", "disk"]\n')
    (copied.folder / "backups/docs").rename(copied.folder / "backups/papers")
    for place in ("disk", "third"):
        (copied.folder / place).mkdir()
    assert copied.json("run", "--source", "papers")["recovery_point"]["whole"]
    copied.run("restore", "papers", "--to", "back")
    assert state_of(copied.folder / "back/docs") == state_of(copied.folder / "docs")
    for place in ("disk", "third"):
        assert copied.json("mirror", "local", place, "papers")[0]["state"] == "done"
        copied.run("restore", "papers", "--from", place, "--recovery-sheet", "sheet.txt", "--to", f"back-{place}")
        assert state_of(copied.folder / f"back-{place}/docs") == state_of(copied.folder / "docs")


def test_a_destination_that_was_begun_under_another_name_is_not_filled_with_what_nobody_can_read(
    writer: Installation, tmp_path: Path
) -> None:
    nights(writer, tmp_path, 1)
    (tmp_path / "here/docs").rename(tmp_path / "here/papers")
    renamed = Installation(parse(TEXT.replace("sources.docs", "sources.papers"), tmp_path / "backup.toml"))
    renamed.repository("papers", "disk", create=True, history="papers")
    with pytest.raises(Refused, match=r"`papers/` at `disk` was begun as `papers`.*move that folder away"):
        mirror(renamed, "papers", "here", "disk")
    (tmp_path / "disk/papers").rename(tmp_path / "disk/away")
    shutil.rmtree(tmp_path / ".geometra-backup/cache/disk", ignore_errors=True)
    assert mirror(renamed, "papers", "here", "disk").state == "done"
    assert len(renamed.repository("papers", "disk").snapshots()) == 1


def test_what_a_source_left_that_was_removed_since_is_brought_too(lived: Terminal, copied: Terminal) -> None:
    with (copied.folder / "backup.toml").open("a") as file:
        file.write('\n[destinations.disk]\nkind = "local"\npath = "disk"\n')
    (copied.folder / "disk").mkdir()
    copied.edit("[sources.docs]", "[sources.papers]")
    made = copied.json("mirror", "local", "disk")
    assert [(each["source"], each["state"], each["figures"]["snapshots"]) for each in made] == [
        ("config", "done", 1),
        ("docs", "done", 1),
    ]
    copied.run("restore", "docs", "--from", "disk", "--recovery-sheet", "sheet.txt", "--to", "back")
    assert state_of(copied.folder / "back/docs") == state_of(lived.folder / "docs")
    assert "no source `dcos`" in copied.run("mirror", "local", "disk", "dcos", code=66).stdout


def test_a_worker_of_the_transfer_pool_does_it_once(house: House) -> None:
    original = grow(house.folder / "alone/originals")
    house.configure(
        {"docs": {"kind": "docs", "paths": [original], "destinations": ["here"]}},
        {
            "here": {"kind": "local", "path": house.folder / "store"},
            "disk": {"kind": "local", "path": house.folder / "disk"},
        },
        {"nightly": {"timezone": "UTC"}},
    )
    house.worker()
    assert house.night("nightly")["state"] == "done"
    with house.app() as app:
        asked = {"source": "docs", "origin": "here", "destination": "disk", "run": "by-hand"}
        made = [app.send_task("mirror", kwargs=asked, queue="transfer").get(timeout=60) for _ in range(2)]
    assert made[0] == made[1]
    assert Outcome.from_json(made[0]).figures["snapshots"] == 1
    into = house.folder / "restored"
    restore(house.installation, "docs", "disk", Wanted(into))
    assert state_of(into) == state_of(original.parent)

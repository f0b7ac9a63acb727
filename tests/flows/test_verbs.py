"""The verbs as plain functions: no Celery, no broker, a real source and real folders."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.capture import capture
from tasks.check import check
from tasks.configuration import parse
from tasks.errors import Condemned, Damaged, NotFound, SettingsError, SourceError, Unavailable
from tasks.installation import Installation
from tasks.outcome import Outcome
from tasks.prune import plan_pruning, prune
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
[destinations.offsite]
kind = "local"
path = "offsite"
"""


@pytest.fixture
def installed(tmp_path: Path) -> Installation:
    for name in ("keys", "here", "offsite"):
        (tmp_path / name).mkdir()
    keys().put_into(tmp_path / "keys")
    grow(tmp_path / "originals/docs")
    return install(tmp_path)


def install(folder: Path, plans: str = "") -> Installation:
    return Installation(parse(TEXT + plans, folder / "backup.toml"), passphrase=PASSPHRASE)


def a_run(days_ago: int = 0, name: str = "") -> Run:
    return Run(name or f"run-{days_ago}", "", "", NOW - timedelta(days=days_ago), ())


def night(installed: Installation, days_ago: int = 0, *places: str) -> Outcome:
    run = a_run(days_ago)
    captured = capture(installed, "docs", run, now=run.started)
    for place in places or ("here", "offsite"):
        upload(installed, "docs", place, captured.snapshot)
    return captured


class Listed(list[Any]):
    """A capture whose listing is over before the first item is read."""

    def stored(self, item: Any) -> None: ...

    def flaws(self) -> list[Any]:
        return []

    def facts(self) -> dict[str, Any]:
        return {}


def waiting(installed: Installation) -> list[Any]:
    return list(installed.spool.folder.glob("*/*"))


def test_a_capture_of_the_same_run_is_made_once(installed: Installation) -> None:
    first = capture(installed, "docs", a_run())
    assert (first.state, first.figures["flaws"]) == ("done", 0)
    assert first.figures["files"] > 30
    assert capture(installed, "docs", a_run()) == first
    for place in ("here", "offsite"):
        upload(installed, "docs", place, first.snapshot)
    assert waiting(installed) == []
    again = capture(installed, "docs", a_run())
    assert again.snapshot == first.snapshot
    assert waiting(installed) == []


def test_a_capture_reads_its_reference_where_it_can_be_reached(installed: Installation) -> None:
    night(installed, 1)
    (installed.settings.state.parent / "here").rename(installed.settings.state.parent / "away")
    captured = capture(installed, "docs", a_run())
    assert captured.figures["new_bytes"] == 0
    assert installed.spool.pending("docs", "here")[0].reference == "offsite"


def test_without_any_destination_a_capture_waits_and_leaves_nothing(installed: Installation) -> None:
    for name in ("here", "offsite"):
        (installed.settings.state.parent / name).rmdir()
    with pytest.raises(Unavailable, match="no destination of `docs` can be reached"):
        capture(installed, "docs", a_run())
    assert waiting(installed) == []


def test_a_source_that_was_emptied_is_incomplete_until_that_is_allowed(installed: Installation) -> None:
    """As one is whose disk is not mounted: what was proven of it must not make room for nothing."""
    full = night(installed, 4)
    shutil.rmtree(installed.settings.state.parent / "originals/docs")
    (installed.settings.state.parent / "originals/docs").mkdir()
    for days_ago in (3, 2):
        emptied = night(installed, days_ago)
        assert emptied.state == "incomplete"
        assert f"`{full.snapshot}` had" in emptied.flaws[0]
        assert "docs is emptied" in emptied.flaws[0]
    docs = installed.settings.sources["docs"].model_copy(update={"allow_incomplete": ("docs",)})
    allowing = Installation(installed.settings.model_copy(update={"sources": {"docs": docs}}), passphrase=PASSPHRASE)
    assert night(allowing, 1).state == "done"
    assert night(installed).state == "done"  # nothing was lost since the last complete one


def test_a_source_whose_disk_is_not_mounted_fails(installed: Installation) -> None:
    docs = installed.settings.sources["docs"].model_copy(update={"mounted": (installed.settings.state.parent,)})
    without = Installation(installed.settings.model_copy(update={"sources": {"docs": docs}}), passphrase=PASSPHRASE)
    with pytest.raises(SourceError, match="nothing is mounted at"):
        capture(without, "docs", a_run())
    docs = docs.model_copy(update={"mounted": (Path("/"),)})
    assert night(Installation(installed.settings.model_copy(update={"sources": {"docs": docs}}))).state == "done"


def test_a_source_that_is_gone_leaves_nothing_in_the_spool(installed: Installation) -> None:
    folder = installed.settings.state.parent / "originals"
    folder.rename(folder.with_name("gone"))
    with pytest.raises(SourceError):
        capture(installed, "docs", a_run())
    assert waiting(installed) == []


def test_what_vanishes_while_it_is_captured_makes_the_outcome_incomplete_and_is_named(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = installed.settings.state.parent / "originals/docs/team0/part0/file 0.toml"
    listed = type(installed.source("docs")).capture

    def capture_and_remove(source: Any) -> Any:
        items = list(listed(source))
        gone.unlink()
        return Listed(items)

    monkeypatch.setattr(type(installed.source("docs")), "capture", capture_and_remove)
    captured = capture(installed, "docs", a_run())
    assert captured.state == "incomplete"
    assert captured.flaws == ("docs/team0/part0/file 0.toml is vanished: it was listed, and gone when it was opened",)
    uploaded = upload(installed, "docs", "here", captured.snapshot)
    assert uploaded.state == "done"
    verify(installed, "docs", "here")
    (proof,) = installed.repository("docs", "here").proofs()[captured.snapshot]
    assert not proof.good


def test_an_upload_brings_what_earlier_nights_could_not(installed: Installation) -> None:
    captured = [night(installed, days, "here") for days in (2, 1, 0)]
    done = upload(installed, "docs", "offsite", captured[-1].snapshot)
    assert (done.state, done.figures["snapshots"]) == ("done", 3)
    assert installed.repository("docs", "offsite").snapshot_ids() == [each.snapshot for each in captured]
    assert waiting(installed) == []
    assert upload(installed, "docs", "offsite", captured[-1].snapshot).figures == {}


def test_a_snapshot_that_is_nowhere_is_not_reported_as_uploaded(installed: Installation) -> None:
    with pytest.raises(NotFound, match="in the spool of the host `local`"):
        upload(installed, "docs", "here", "20260101T000000Z-aaaaaaaa")
    with pytest.raises(NotFound, match="no destination of `docs`"):
        upload(installed, "docs", "elsewhere", "")


def test_what_waits_of_a_source_that_was_removed_is_told(installed: Installation) -> None:
    capture(installed, "docs", a_run())
    folder = installed.settings.state.parent
    left = Installation(parse(TEXT.replace("sources.docs", "sources.papers"), folder / "backup.toml"), PASSPHRASE)
    (found,) = (each for each in check(left) if each.what.startswith("spool of"))
    assert (found.what, found.state) == ("spool of docs", "weak")
    assert str(left.spool.folder / "docs") in found.says
    assert not any(each.what.startswith("spool of") for each in check(installed))


def test_a_capture_that_relies_on_condemned_packs_is_given_up_and_the_next_stores_all_again(
    installed: Installation,
) -> None:
    night(installed, 2)
    stale = capture(installed, "docs", a_run(1))
    for place in ("here", "offsite"):
        repository = installed.repository("docs", place)
        repository.condemn_damaged({bytes.fromhex(pack) for pack in repository.snapshots()[0].packs}, NOW)
        with pytest.raises(Condemned):
            upload(installed, "docs", place, stale.snapshot)
    assert waiting(installed) == []
    fresh = night(installed)
    assert fresh.figures["new_bytes"] > 0
    assert restored(installed, fresh.snapshot) == original(installed)


def test_an_older_capture_that_cannot_be_brought_stops_no_newer_one(installed: Installation) -> None:
    old = capture(installed, "docs", a_run(1))
    for pack in installed.spool.folder.glob("docs/run-1/attempt-*/docs/packs/*/*"):
        pack.unlink()
    new = capture(installed, "docs", a_run())
    first = upload(installed, "docs", "here", new.snapshot)
    assert first.state == "incomplete"
    assert old.snapshot in first.flaws[0]
    assert installed.repository("docs", "here").snapshot_ids() == [new.snapshot]
    assert upload(installed, "docs", "here", new.snapshot).state == "done"


def original(installed: Installation) -> dict[str, Any]:
    return state_of(installed.settings.state.parent / "originals")


def restored(installed: Installation, snapshot: str, destination: str = "here", **wanted: Any) -> dict[str, Any]:
    into = installed.settings.state.parent / f"restored-{destination}-{snapshot}"
    restore(installed, "docs", destination, Wanted(into, **wanted), snapshot=snapshot)
    return state_of(into)


def test_a_verified_snapshot_has_a_good_proof_beside_it(installed: Installation) -> None:
    captured = night(installed)
    assert verify(installed, "docs", "here").snapshot == captured.snapshot
    (proof,) = installed.repository("docs", "here").proofs()[captured.snapshot]
    assert (proof.good, proof.verb) == (True, "verify")
    with pytest.raises(NotFound, match="no snapshot"):
        verify(installed, "docs", "here", "20260101T000000Z-aaaaaaaa")


def test_damage_is_named_proven_bad_and_healed_by_the_next_night(installed: Installation) -> None:
    captured = night(installed)
    packs = sorted(
        (installed.settings.state.parent / "here/docs/packs").rglob("*"), key=lambda path: path.stat().st_size
    )
    with packs[-1].open("r+b") as file:
        file.seek(200)
        file.write(b"damage")
    with pytest.raises(Damaged, match=f"`docs` at `here` is damaged.*{packs[-1].name}"):
        verify(installed, "docs", "here")
    (proof,) = installed.repository("docs", "here").proofs()[captured.snapshot]
    assert not proof.good
    healed = capture(installed, "docs", a_run(0, "healing"))
    upload(installed, "docs", "here", healed.snapshot)
    assert healed.figures["new_bytes"] > 0
    assert restored(installed, healed.snapshot) == original(installed)


def test_a_prune_lets_go_only_what_every_plan_lets_go(installed: Installation) -> None:
    folder = installed.settings.state.parent
    for days in (40, 39, 20, 1):
        night(installed, days, "here")
    verify(installed, "docs", "here")
    newest = '[plans.nightly.keep]\nlast = 1\ndaily = 0\nweekly = 0\nmonthly = 0\nwithin = "0s"\n'
    yearly = '[plans.yearly.keep]\nlast = 4\ndaily = 0\nweekly = 0\nmonthly = 0\nwithin = "0s"\n'

    def kept(plans: str) -> list[int]:
        judged = plan_pruning(install(folder, plans), "docs", "here", NOW).judgements
        return [(NOW - each.snapshot.started).days for each in judged if each.keep]

    assert kept(newest) == [1]
    assert kept(newest + yearly) == [40, 39, 20, 1]
    assert kept("") == [40, 39, 20, 1]  # no plan: the default rules


def test_a_prune_without_a_proof_lets_nothing_go_and_a_plan_changes_nothing(installed: Installation) -> None:
    folder = installed.settings.state.parent
    for days in (9, 8, 7):
        night(installed, days, "here")
    strict = install(folder, '[plans.nightly.keep]\nlast = 1\ndaily = 0\nweekly = 0\nmonthly = 0\nwithin = "0s"\n')
    prune(strict, "docs", "here")
    assert len(installed.repository("docs", "here").snapshots()) == 3
    verify(installed, "docs", "here")
    before = sorted((folder / "here").rglob("*"))
    planned = plan_pruning(strict, "docs", "here", datetime.now(UTC))
    assert sorted((folder / "here").rglob("*")) == before
    assert len(planned.plan.forget) == 2
    assert prune(strict, "docs", "here").figures["forget"] == 2
    (left,) = installed.repository("docs", "here").snapshots()
    assert restored(installed, left.id) == original(installed)


def test_chosen_paths_are_restored_alone(installed: Installation) -> None:
    captured = night(installed)
    found = restored(installed, captured.snapshot, patterns=("/docs/team0/",))
    found.pop("hard links")
    assert {name for name in found if found[name][5] is not None} == {
        name for name, state in original(installed).items() if name.startswith("docs/team0/") and state[5] is not None
    }


def test_progress_is_told_for_every_verb(installed: Installation) -> None:
    told: dict[str, list[dict[str, float]]] = {verb: [] for verb in ("capture", "upload", "verify", "restore")}
    captured = capture(installed, "docs", a_run(), progress=told["capture"].append)
    upload(installed, "docs", "here", captured.snapshot, progress=told["upload"].append)
    verify(installed, "docs", "here", progress=told["verify"].append)
    into = installed.settings.state.parent / "restored"
    restore(installed, "docs", "here", Wanted(into), progress=told["restore"].append)
    assert {verb: bool(figures) for verb, figures in told.items()} == dict.fromkeys(told, True)
    assert all("done_bytes" in figures for verb in told for figures in told[verb])


def test_an_outcome_survives_the_broker(installed: Installation) -> None:
    outcome = replace(night(installed), flaws=("a is partial",))
    assert Outcome.from_json(outcome.to_json()) == outcome


def test_a_destination_whose_secret_is_not_there_stops_no_other(
    installed: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    cloud = '[destinations.cloud]\nkind = "s3"\nbucket = "there"\nendpoint = "http://127.0.0.1:9"\n'
    cloud += 'access_key = "env:NOT_SET"\nsecret_key = "env:NOT_SET"\n'
    both = Installation(parse(cloud + TEXT, tmp_path / "backup.toml"), passphrase=PASSPHRASE)
    captured = capture(both, "docs", a_run(), now=NOW)
    assert captured.state == "done"
    assert upload(both, "docs", "here", captured.snapshot).state == "done"
    with pytest.raises(SettingsError, match="NOT_SET"):
        upload(both, "docs", "cloud", captured.snapshot)

"""A drill as a plain function: what came back is compared with what was captured, and the proof of it counts."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.drill import differences, drill, is_due, last_counting
from tasks.errors import Damaged, NoSpace, NotFound, Refused
from tasks.installation import Installation
from tasks.prune import plan_pruning
from tasks.repository import Proof, is_proven, last_good
from tasks.sources.docs import Docs
from tasks.verify import verify
from tests.flows.kinds import Miscounting
from tests.flows.test_verbs import NOW, install, installed, night  # noqa: F401 - a fixture

KEEP = """
[plans.nightly.keep]
last = 1
daily = 0
weekly = 0
monthly = 0
within = "1s"
"""


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "scratch"
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def proofs(installed: Installation, snapshot: str) -> list[Any]:  # noqa: F811
    return installed.repository("docs", "here", reader=True).proofs().get(snapshot, [])


def miscounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a capture says that it has one file more than it stores."""
    capture = Docs.capture
    monkeypatch.setattr(Docs, "capture", lambda source: Miscounting(capture(source)))


def test_what_comes_back_as_it_was_captured_is_proven_and_nothing_is_left(
    installed: Installation,  # noqa: F811
    scratch: Path,
) -> None:
    captured = night(installed, 0, "here")
    told: list[Any] = []
    found = drill(installed, "docs", "here", progress=told.append)
    assert told
    assert (found.state, found.snapshot, found.flaws) == ("done", captured.snapshot, ())
    assert found.figures["compared_facts"] >= 5
    assert found.figures["restored_bytes"] == captured.figures["content_bytes"] > 0
    (proof,) = proofs(installed, captured.snapshot)
    assert (proof.verb, proof.good, proof.depth, proof.findings) == ("drill", True, "compared", ())
    assert list(scratch.iterdir()) == []


def test_what_comes_back_otherwise_is_named_and_makes_room_for_nothing(
    installed: Installation,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = install(installed.settings.state.parent, KEEP)
    old = night(installed, 5, "here").snapshot
    verify(installed, "docs", "here")
    drill(installed, "docs", "here")
    miscounted(monkeypatch)
    wrong = [night(installed, days, "here").snapshot for days in (4, 3)]
    for name in wrong:
        verify(installed, "docs", "here", name)
    assert old not in kept(installed), "all bytes of the newer ones can be read, and nobody has tried more"
    for name in wrong:
        with pytest.raises(Damaged, match=r"what came back of `docs` at `here`, .* is not what was captured: `files`;"):
            drill(installed, "docs", "here", name)
        assert proofs(installed, name)[-1].findings == ("`files` is not what was captured",)
    assert old in kept(installed)
    verify(installed, "docs", "here", wrong[-1])
    last = proofs(installed, wrong[-1])
    assert [(proof.verb, proof.good) for proof in last] == [("verify", True), ("drill", False), ("verify", True)]
    assert not is_proven(last)
    assert old in kept(installed), "that all bytes can be read does not undo it"
    with pytest.raises(NotFound):
        drill(installed, "docs", "here", "20000101T000000Z-00000000")


def kept(installed: Installation) -> set[str]:  # noqa: F811
    return {each.snapshot.id for each in plan_pruning(installed, "docs", "here", NOW).judgements if each.keep}


def test_a_lost_pack_is_found_too(installed: Installation) -> None:  # noqa: F811
    captured = night(installed, 0, "here")
    for pack in (installed.settings.state.parent / "here/docs/packs").rglob("*"):
        if pack.is_file():
            pack.write_bytes(bytes(pack.stat().st_size))
    with pytest.raises(Damaged):
        drill(installed, "docs", "here")
    assert not is_proven(proofs(installed, captured.snapshot))


def test_an_incomplete_snapshot_is_never_proven(
    installed: Installation,  # noqa: F811
) -> None:
    night(installed, 1, "here")
    emptied = installed.settings.state.parent / "originals/docs"
    shutil.rmtree(emptied)
    emptied.mkdir()
    captured = night(installed, 0, "here")
    found = drill(installed, "docs", "here")
    assert (captured.state, found.state) == ("incomplete", "incomplete")
    (proof,) = proofs(installed, captured.snapshot)
    assert not proof.good
    assert "incomplete" in proof.findings[0]
    counting = last_counting({captured.snapshot: [proof]}, datetime.now(UTC))
    assert counting == proof.when, "one that is incomplete every night is not drilled every night"


def test_a_scratch_folder_that_can_not_be_used_says_nothing_of_the_snapshot(
    installed: Installation,  # noqa: F811
    scratch: Path,
) -> None:
    captured = night(installed, 0, "here")
    scratch.write_text("in the way")
    with pytest.raises((Refused, NoSpace), match="scratch"):
        drill(installed, "docs", "here")
    assert proofs(installed, captured.snapshot) == []


def test_the_last_good_one_is_what_the_next_waits_for(
    installed: Installation,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    night(installed, 1, "here")
    drill(installed, "docs", "here")
    repository = installed.repository("docs", "here", reader=True)
    good = last_good(repository.proofs(), "drill", datetime.now(UTC))
    assert good
    assert datetime.now(UTC) - good < timedelta(minutes=1)
    miscounted(monkeypatch)
    night(installed, 0, "here")
    with pytest.raises(Damaged):
        drill(installed, "docs", "here")
    assert last_good(repository.proofs(), "drill", datetime.now(UTC)) == good


@pytest.mark.parametrize(
    ("every", "age", "due"),
    [
        (None, None, False),
        (timedelta(days=7), None, True),
        (timedelta(days=7), timedelta(days=6, hours=17), False),
        (timedelta(days=7), timedelta(days=6, hours=18), True),
        (timedelta(days=1), timedelta(hours=21), False),
        (timedelta(days=1), timedelta(hours=22), True),  # a night that takes two hours less than the last
        (timedelta(days=7), timedelta(days=-1), True),  # dated ahead by a wrong clock
    ],
)
def test_when_one_is_due(every: timedelta | None, age: timedelta | None, due: bool) -> None:
    assert is_due(NOW - age if age is not None else None, every, NOW) is due


def test_differences_name_facts_and_never_tell_them() -> None:
    captured = {"files": 3, "secret": "hunter2", "tables": {"a": 1, "b": 2, "gone": 3}, "more": 1}
    looks = [
        {"files": 3, "secret": "hunter3", "tables": {"a": 1, "b": 3, "new": 4}},
        {"files": 4, "not counted then": 1, "tables": {"a": 1, "b": 2, "gone": 3}},
    ]
    assert differences(captured, looks) == [
        *("`secret`", "`tables` of `b`", "`tables` of `gone`", "`tables` of `new`"),
        "`files`",
    ]
    assert differences(captured, [{}]) == []


def test_a_good_drill_of_an_older_snapshot_does_not_stand_for_a_newer_bad_one(
    installed: Installation,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = night(installed, 2, "here").snapshot
    drill(installed, "docs", "here")
    repository = installed.repository("docs", "here", reader=True)
    assert last_counting(repository.proofs("drill"), datetime.now(UTC))
    miscounted(monkeypatch)
    night(installed, 1, "here")
    with pytest.raises(Damaged):
        drill(installed, "docs", "here")
    drill(installed, "docs", "here", old)
    assert last_counting(repository.proofs("drill"), datetime.now(UTC)) is None
    monkeypatch.undo()
    night(installed, 0, "here")
    drill(installed, "docs", "here")
    assert last_counting(repository.proofs("drill"), datetime.now(UTC))


def test_one_that_a_wrong_clock_dated_ahead_hides_none_since(installed: Installation) -> None:  # noqa: F811
    repository = installed.repository("docs", "here", reader=True, create=True)
    repository.prove(Proof("20260101T000000Z-00000001", "drill", NOW + timedelta(days=3000), good=True))
    assert last_counting(repository.proofs("drill"), NOW) is None
    repository.prove(Proof("20260102T000000Z-00000002", "drill", NOW, good=True))
    assert last_counting(repository.proofs("drill"), NOW + timedelta(days=1)) == NOW

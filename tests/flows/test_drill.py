"""A drill as a plain function: what came back is compared with what was captured, and the proof of it counts."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.configuration import parse
from tasks.drill import differences, drill, is_due, last_counting
from tasks.errors import Damaged, NoSpace, NotFound, Refused, Unavailable
from tasks.installation import Installation
from tasks.prune import plan_pruning
from tasks.repository import Proof, is_proven, last_good
from tasks.sources.docs import Docs
from tasks.sources.source_code import SourceCode
from tasks.verify import verify
from tests.flows.kinds import Miscounting
from tests.flows.test_verbs import NOW, install, installed, night  # noqa: F401 - a fixture
from tests.git_sample import commit, init
from tests.repositories import PASSPHRASE, keys
from tests.unit.sources.conftest import ext3_disk, huge_pages, xfs_disk
from tests.unit.test_scratch import anybodys

__all__ = ["anybodys", "ext3_disk", "huge_pages", "xfs_disk"]

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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root captures what nobody may read")
def test_what_only_root_may_read_is_looked_at_by_another_user(
    anybodys: Path,
) -> None:
    for name in ("keys", "here", "originals/docs"):
        (anybodys / name).mkdir(parents=True)
    keys().put_into(anybodys / "keys")
    for name, mode, content in (("shadow", 0, b"x"), ("large", 0o040, bytes(200_000))):
        path = anybodys / "originals/docs" / name
        path.write_bytes(content)
        subprocess.run(["setfacl", "-m", "u:33:r", path], check=True)
        path.chmod(mode)
    night(install(anybodys), 0, "here")
    subprocess.run(["chmod", "-R", "a+rwX", anybodys / "here", anybodys / "keys"], check=True)
    subprocess.run(["chmod", "-R", "a+rwX", anybodys / ".geometra-backup"], check=True)
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.environ["TMPDIR"] = str(anybodys / "scratch")
        os._exit(drill(install(anybodys), "docs", "here").state != "done")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_holes_come_back_on_another_file_system(
    installed: Installation,  # noqa: F811
    xfs_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (installed.settings.state.parent / "originals/docs/sparse").open("wb") as file:
        file.write(os.urandom(40 << 20))
        file.seek(4096, os.SEEK_CUR)
        file.write(os.urandom(5000))
    monkeypatch.setenv("TMPDIR", str(xfs_disk / "scratch"))
    night(installed, 0, "here")
    assert drill(installed, "docs", "here").state == "done"


def test_a_hole_is_seen_where_blocks_are_counted_that_list_others(
    installed: Installation,  # noqa: F811
    ext3_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (installed.settings.state.parent / "originals/docs/sparse").open("wb") as file:
        file.write(os.urandom(40 << 12))
        file.seek(4096, os.SEEK_CUR)
        file.write(os.urandom(40 << 12))
    monkeypatch.setenv("TMPDIR", str(ext3_disk / "scratch"))
    night(installed, 0, "here")
    assert drill(installed, "docs", "here").state == "done"


def test_a_file_system_without_such_holes_is_told_and_nothing_is_damaged(
    installed: Installation,  # noqa: F811
    huge_pages: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (installed.settings.state.parent / "originals/docs/sparse").open("wb") as file:
        file.seek(5_000_000)
        file.write(b"x")
        file.truncate(20_000_000)
    monkeypatch.setenv("TMPDIR", str(huge_pages / "scratch"))
    captured = night(installed, 0, "here")
    with pytest.raises(Refused, match="does not hold holes as they were written"):
        drill(installed, "docs", "here")
    assert proofs(installed, captured.snapshot) == []


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_to_whom_files_belong_is_not_compared(installed: Installation) -> None:  # noqa: F811
    for place, path in enumerate((installed.settings.state.parent / "originals/docs").rglob("*")):
        os.chown(path, 1000 + place, 1000, follow_symlinks=False)
    assert night(installed, 0, "here").state == "done"
    assert drill(installed, "docs", "here").state == "done"


GIT = """
[destinations.here]
kind = "local"
path = "here"
[sources.docs]
"""


def test_repositories_are_compared_as_they_were_captured_whatever_settings_say_since(tmp_path: Path) -> None:
    for name in ("keys", "here"):
        (tmp_path / name).mkdir()
    keys().put_into(tmp_path / "keys")
    for name in ("one", "two"):
        commit(init(tmp_path / name), {"a.txt": "a", "b.log": "b"})
        (tmp_path / name / "a.txt").write_text("changed")
        (tmp_path / name / "b.log").write_text("changed")
        (tmp_path / name / "new.log").write_text("new")
    both = 'kind = "source_code"\nrepositories = ["one", "two"]\n'
    only = {
        'kind = "source_code"\nrepositories = ["one"]\n',
        'kind = "source_code"\nrepositories = [{ path = "one", name = "renamed" }]\n',
        'kind = "docs"\npaths = ["one"]\n',
    }
    settings = [both + more for more in ("", "uncommitted = false\n", "lfs = false\n", 'exclude = ["*.log"]\n')]
    made = [Installation(parse(GIT + text, tmp_path / "backup.toml"), passphrase=PASSPHRASE) for text in settings]
    others = [Installation(parse(GIT + text, tmp_path / "backup.toml"), passphrase=PASSPHRASE) for text in sorted(only)]
    for days, each in enumerate(made):
        captured = night(each, days, "here").snapshot
        for later in (*made, *others):
            found = drill(later, "docs", "here", captured)
            assert (found.state, found.flaws) == ("done", ())


def test_a_repository_that_does_not_come_back_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("keys", "here"):
        (tmp_path / name).mkdir()
    keys().put_into(tmp_path / "keys")
    for name in ("one", "two"):
        commit(init(tmp_path / name), {"a.txt": "a"})
    text = GIT + 'kind = "source_code"\nrepositories = ["one", "two"]\n'
    made = Installation(parse(text, tmp_path / "backup.toml"), passphrase=PASSPHRASE)
    night(made, 0, "here")
    restore = SourceCode.restore

    def spoilt(source: SourceCode, items: Any, chosen: Any, into: Path, *how: Any) -> list[str]:
        missed = restore(source, items, chosen, into, *how)
        (into / "one/a.txt").write_text("something else")
        shutil.rmtree(into / "two")
        return missed

    monkeypatch.setattr(SourceCode, "restore", spoilt)
    with pytest.raises(Damaged, match="not what was captured: `repositories` of `one`; `repositories` of `two`;"):
        drill(made, "docs", "here")


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


@pytest.mark.parametrize("command", ["index-pack", "checkout-index", "rev-list", "fsck", "ls-files"])
def test_a_git_that_is_killed_says_nothing_of_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for name in ("keys", "here"):
        (tmp_path / name).mkdir()
    keys().put_into(tmp_path / "keys")
    commit(init(tmp_path / "one"), {"a.txt": "a"})
    text = GIT + 'kind = "source_code"\nrepositories = ["one"]\n'
    made = Installation(parse(text, tmp_path / "backup.toml"), passphrase=PASSPHRASE)
    captured = night(made, 0, "here").snapshot
    program, seen = tmp_path / "bin/git", tmp_path / "seen"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" {command} "*) touch {seen}; kill -9 $$;; esac\nexec {shutil.which("git")} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    with pytest.raises(Unavailable, match="was ended"):
        drill(made, "docs", "here")
    assert seen.exists()
    assert made.repository("docs", "here", reader=True).proofs().get(captured) is None


def test_a_file_system_that_holds_less_than_files_have_is_not_taken_for_damage(
    installed: Installation,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "ramfs", "ramfs", str(disk)], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        monkeypatch.setenv("TMPDIR", str(disk))
        night(installed, 1, "here")
        assert drill(installed, "docs", "here").state == "done", "no file has more than it holds"
        file = next(path for path in (tmp_path / "originals/docs").rglob("*") if path.is_file())
        os.setxattr(file, "user.author", b"Ada")
        captured = night(installed, 0, "here").snapshot
        with pytest.raises(Refused, match=r"does not hold extended attributes .*; point `scratch` elsewhere"):
            drill(installed, "docs", "here")
        assert proofs(installed, captured) == []
        monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
        assert drill(installed, "docs", "here").state == "done"
    finally:
        subprocess.run(["umount", str(disk)], check=True)

"""Files and repositories that a drill puts back: on another file system, by another user, after other settings."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.configuration import parse
from tasks.drill import drill
from tasks.errors import Damaged, NoSpace, Refused, Unavailable
from tasks.installation import Installation
from tasks.sources.source_code import SourceCode
from tests.flows.test_drill import proofs, scratch
from tests.flows.test_verbs import install, installed, night
from tests.git_sample import commit, init
from tests.repositories import PASSPHRASE, keys
from tests.unit.sources.conftest import disk_of, ext3_disk, huge_pages, xfs_disk
from tests.unit.test_scratch import anybodys

__all__ = ["anybodys", "disk_of", "ext3_disk", "huge_pages", "installed", "scratch", "xfs_disk"]


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
    installed: Installation,
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
    installed: Installation,
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
    installed: Installation,
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


def test_a_scratch_folder_that_gets_full_on_the_way_is_named(
    installed: Installation,
    disk_of: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (installed.settings.state.parent / "originals/docs/large").write_bytes(os.urandom(3 << 20))
    scratch = disk_of(2 << 20) / "scratch"
    monkeypatch.setenv("TMPDIR", str(scratch))
    captured = night(installed, 0, "here")
    with pytest.raises(NoSpace, match=f"in the scratch folder `{scratch}`"):
        drill(installed, "docs", "here")
    gc.collect()  # what its traceback refers to is open on that disk
    assert list(scratch.iterdir()) == []
    assert proofs(installed, captured.snapshot) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_to_whom_files_belong_is_not_compared(installed: Installation) -> None:
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
    installed: Installation,
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

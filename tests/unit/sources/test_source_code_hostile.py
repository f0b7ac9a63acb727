"""A repository that nobody vouches for runs nothing, in its backup or in its restore, and writes nowhere else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.item import Facts, Flaw
from tasks.sources.git import command
from tasks.sources.source import Problem, Restoring
from tests.contracts.child import Child, as_nobody
from tests.contracts.memory_items import Saved
from tests.git_sample import commit, git, init, made, rich

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """Where every program that is run leaves its name."""
    (tmp_path / "traps").mkdir()
    return tmp_path / "traps"


@pytest.fixture
def hostile(tmp_path: Path, traps: Path) -> Path:
    """A repository in which everything that can name a program names one."""
    site = rich(tmp_path / "site")
    (site / ".gitattributes").write_text("*.py filter=evil diff=evil merge=evil\n")
    inner = init(tmp_path / "inner")
    commit(inner, {"a.py": "a = 1\n"})
    git(site, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    git(site, "add", "--all")
    git(site, "commit", "--quiet", "--message", "attributes")
    (site / "modified.py").write_text("# modified once more\n")
    for folder in (site / ".git", site / ".git/modules/sub"):
        for name, value in _programs(traps):
            git(folder, "config", "--file", "config", name, value)
        (folder / "hooks").mkdir(exist_ok=True)
        for name in ("post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc", "post-merge"):
            (folder / "hooks" / name).write_text(f"#!/bin/sh\ntouch {traps}/hook-{name}\n")
            (folder / "hooks" / name).chmod(0o755)
    for path in site.rglob("*.py"):
        os.utime(path)
    return site


def _programs(traps: Path) -> list[tuple[str, str]]:
    settings = (
        *("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.askPass", "core.gitProxy"),
        *("core.alternateRefsCommand", "credential.helper", "diff.external", "diff.evil.command", "diff.evil.textconv"),
        *("filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "merge.evil.driver", "gpg.program"),
        *("alias.for-each-ref", "alias.log", "alias.status", "pager.log", "pager.config", "sequence.editor"),
        *("uploadpack.packObjectsHook", "remote.origin.uploadpack", "remote.origin.receivepack", "remote.origin.vcs"),
    )
    programs = [(name, f"touch {traps}/{name}; cat") for name in settings]
    programs += [("alias.config", f"!touch {traps}/alias"), ("remote.origin.url", f"ext::touch {traps}/ext")]
    programs += [("extensions.partialClone", "origin"), ("remote.origin.promisor", "true")]
    return [*programs, ("core.repositoryFormatVersion", "1"), ("log.showSignature", "true")]


def test_nothing_that_a_repository_names_is_run(hostile: Path, traps: Path, tmp_path: Path) -> None:
    source = made(hostile)
    source.check()
    saved = Saved(source.capture())
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert source.examine(tmp_path / "copy") == saved.facts
    assert os.listdir(traps) == []
    assert saved.flaws == []


def test_the_same_repository_does_run_programs_for_who_works_in_it(hostile: Path, traps: Path) -> None:
    git(hostile, "status")
    assert "core.fsmonitor" in os.listdir(traps)
    assert {"filter.evil.clean", "filter.evil.process"} & set(os.listdir(traps))


def test_its_hooks_and_configuration_come_back_all_the_same(hostile: Path, tmp_path: Path) -> None:
    source = made(hostile)
    saved = Saved(source.capture())
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    for name in ("config", "hooks/post-checkout", "info/exclude"):
        copy, original = tmp_path / "copy/site/.git" / name, hostile / ".git" / name
        assert copy.read_bytes() == original.read_bytes()
        assert copy.stat().st_mode == original.stat().st_mode


def test_a_repository_is_captured_without_a_write_to_it(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    for path in site.rglob("*.py"):
        os.utime(path)  # so that git would like to refresh its index

    def everything() -> dict[Path, tuple[int, int, int]]:
        return {path: (path.lstat().st_mtime_ns, path.lstat().st_ino, path.lstat().st_size) for path in site.rglob("*")}

    before = everything()
    source = made(site)
    source.check()
    assert Saved(source.capture()).flaws == []
    assert everything() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_root_captures_and_restores_the_repository_of_another_user(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    for path in (site, *site.rglob("*")):
        os.chown(path, 54321, 54322, follow_symlinks=False)
    source = made(site)
    assert [problem for problem in source.check() if problem.fatal] == []
    saved = Saved(source.capture())
    assert saved.flaws == []
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in (tmp_path / "copy/site").rglob("*")}
    assert owners == {(54321, 54322)}
    assert source.examine(tmp_path / "copy") == saved.facts


@pytest.fixture
def common() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_an_ordinary_user_captures_and_restores_the_repository_of_another(common: Path) -> None:
    site = rich(common / "site")
    source = made(site)

    def round_trip() -> tuple[object, object, object]:
        saved = Saved(source.capture())
        source.restore(saved, saved, common / "copy", Restoring())
        return saved.flaws, saved.facts, source.examine(common / "copy")

    flaws, captured, examined = Child(as_nobody(round_trip)).result()
    assert flaws == []
    assert examined == captured


@pytest.mark.parametrize("name", ["index", "HEAD", "packed-refs", "objects"])
def test_what_an_ordinary_user_may_not_read_is_told(name: str, common: Path) -> None:
    site = rich(common / "site")
    git(site, "pack-refs", "--all")
    (site / ".git" / name).chmod(0)
    source = made(site)

    def capture() -> tuple[list[Flaw], Facts, list[Problem]]:
        saved = Saved(source.capture())
        return saved.flaws, saved.facts, source.check()

    flaws, facts, problems = Child(as_nobody(capture)).result()
    assert b"site/repository.bundle" in {flaw.path for flaw in flaws}
    assert facts["repositories"]["site"]["whole"] is False
    assert problems[0].fatal


@pytest.mark.parametrize("name", [".gitattributes", ".git/packed-refs", ".git/index", ".git/MERGE_HEAD"])
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "PATIENCE", 1.0)
    site = rich(tmp_path / "site")
    (site / name).unlink(missing_ok=True)
    os.mkfifo(site / name)
    source = made(site)
    saved = Saved(source.capture())
    assert saved.facts["repositories"]["site"]["whole"] is not any(b"bundle" in flaw.path for flaw in saved.flaws)


def test_secrets_of_a_remote_are_in_no_fact_flaw_or_problem(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    git(site, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    url = "https://ada:secret@example.org/sub.git"
    (site / ".gitmodules").write_text(f'[submodule "sub"]\n\tpath = sub\n\turl = {url}\n')
    git(site, "add", ".gitmodules")
    source = made(site)
    saved = Saved(source.capture())
    (submodule,) = saved.facts["repositories"]["site"]["named_submodules"]
    assert submodule == {"path": "sub", "url": "https://example.org/sub.git", "commit": "1" * 40}
    assert "secret" not in repr((saved.facts, saved.flaws, source.check()))
    assert b"ada:secret" in saved[b"site/git/config"].content

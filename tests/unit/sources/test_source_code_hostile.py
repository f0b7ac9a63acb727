"""A repository that nobody vouches for runs nothing, in its backup or in its restore, and writes nowhere else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import BackupError, Damaged, UnsafePath
from tasks.item import FILE, FOLDER, Entry, Stored
from tasks.sources.git import command
from tasks.sources.source import Restoring
from tasks.sources.source_code import SourceCode
from tests.contracts.memory_items import MemoryItems, Saved
from tests.git_sample import commit, git, init, rich, state

pytestmark = pytest.mark.needs("git")


def made(*repositories: object, **options: object) -> SourceCode:
    settings = {"kind": SourceCode.kind, "repositories": repositories, **options}
    return SourceCode("code", SourceCode.Settings.model_validate(settings))  # type: ignore[arg-type]  # its own class


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


# A hostile snapshot


def snapshot(tmp_path: Path) -> tuple[SourceCode, Saved]:
    site = init(tmp_path / "site")
    (site / "link").symlink_to(tmp_path / "outside")
    commit(site, {"one/target": "stolen\n", "linkXtarget": "stolen\n", "xgitXhooks": "stolen\n"})
    (tmp_path / "outside").mkdir()
    source = made(site)
    return source, Saved(source.capture())


def altered(saved: Saved, path: bytes, change: Callable[[bytes], bytes]) -> MemoryItems:
    def one(item: Stored) -> Stored:
        content = change(item.content)
        return item._replace(entry=item.entry._replace(size=len(content)), content=content)

    return MemoryItems(one(item) if item.entry.path == path else item for item in saved)


def renamed(before: bytes, after: bytes) -> Callable[[bytes], bytes]:
    """An index that no git makes."""

    def change(index: bytes) -> bytes:
        assert before in index
        body = index[:-20].replace(before, after)
        return body + hashlib.sha1(body, usedforsecurity=False).digest()

    return change


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"one/target", b"../outside"),
        (b"one/target", b"/tmp/targe"),
        (b"xgitXhooks", b".git/hooks"),
        (b"one/", b".GIT/"),
    ],
)
def test_an_index_that_names_what_git_never_tracks_is_refused(before: bytes, after: bytes, tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    evil = altered(saved, b"site/git/index", renamed(before, after))
    with pytest.raises((UnsafePath, Damaged)):
        source.restore(evil, evil, tmp_path / "copy", Restoring())
    assert os.listdir(tmp_path / "outside") == []
    assert os.listdir(tmp_path / "copy") == []


def test_a_tracked_link_is_not_followed_by_what_is_below_its_name(tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    evil = altered(saved, b"site/git/index", renamed(b"linkXtarget", b"link/target"))
    try:
        source.restore(evil, evil, tmp_path / "copy", Restoring())
    except BackupError:
        assert os.listdir(tmp_path / "copy") == []
    assert os.listdir(tmp_path / "outside") == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"head": "refs/heads/main"', b'"head": "--exec=touch"'),
        (b'"head": "refs/heads/main"', b'"head": "refs/heads/../../../outside/x"'),
        (b'"settings": [', b'"settings": ["core.sshCommand=touch", '),
        (b'"symbolic": {', b'"symbolic": {"refs/../../outside/x": "refs/heads/main"'),
        (b'"stash": []', b'"stash": [["\\n", "a <b> 1 +0000", "x"]]'),
        (b'"object_format": "sha1"', b'"object_format": "sha256"'),
        (b'"format": 1', b'"format": null'),
        (b"{", b"["),
    ],
)
def test_a_document_that_no_capture_writes_is_refused(before: bytes, after: bytes, tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    evil = altered(saved, b"site/repository.json", lambda text: text.replace(before, after, 1))
    assert evil[b"site/repository.json"].content != saved[b"site/repository.json"].content
    with pytest.raises(Damaged) as raised:
        source.restore(evil, evil, tmp_path / "copy", Restoring())
    assert "\n" not in str(raised.value)
    assert not os.listdir(tmp_path / "outside")
    assert not (tmp_path / "copy").exists() or not os.listdir(tmp_path / "copy")


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle: bundle[:-10],
        lambda bundle: bundle[:100],
        lambda bundle: b"",
        lambda bundle: b"no bundle" + bundle,
        lambda bundle: bundle.replace(b"\n\n", b"\n-" + b"1" * 40 + b" before\n\n", 1),
        lambda bundle: bundle.replace(b" refs/heads/main\n", b" refs/heads/../../../../outside/x\n", 1),
        lambda bundle: bundle[:-30] + bytes([bundle[-30] ^ 1]) + bundle[-29:],
    ],
)
def test_a_bundle_that_no_git_makes_is_refused(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    evil = altered(saved, b"site/repository.bundle", change)
    with pytest.raises(Damaged):
        source.restore(evil, evil, tmp_path / "copy", Restoring())
    assert os.listdir(tmp_path / "copy") == []
    assert not os.listdir(tmp_path / "outside")


@pytest.mark.parametrize("path", [b"..", b"../outside", b"site/working-tree/../../../outside/x", b"/tmp/x", b"site//x"])
def test_a_snapshot_that_leads_out_is_refused(path: bytes, tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    kind = FOLDER if path == b".." else FILE
    evil = MemoryItems([*saved, Stored(Entry(path, kind, size=3), content=b"out")])
    with pytest.raises(UnsafePath):
        source.restore(evil, evil, tmp_path / "copy", Restoring())
    assert os.listdir(tmp_path / "outside") == []


def test_the_working_tree_may_hold_a_link_out_but_nothing_goes_through_it(tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    through = Stored(Entry(b"site/working-tree/link/x", FILE, size=3), content=b"out")
    parent = Stored(Entry(b"site/working-tree", FOLDER, 0o755))
    evil = MemoryItems([*saved, parent, through])
    with pytest.raises(BackupError):
        source.restore(evil, evil, tmp_path / "copy", Restoring())
    assert os.listdir(tmp_path / "outside") == []
    assert os.listdir(tmp_path / "copy") == []


def test_the_good_snapshot_of_these_tests_is_restored(tmp_path: Path) -> None:
    source, saved = snapshot(tmp_path)
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert state(tmp_path / "copy/site") == state(tmp_path / "site")

"""What is kept of a repository beside its history, and what is told of what can't be."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import SourceError
from tasks.item import Item
from tasks.sources.source import Restoring
from tasks.sources.source_code import SourceCode
from tests.contracts.memory_items import Saved
from tests.git_sample import commit, git, init, made, rich, state

pytestmark = pytest.mark.needs("git")

BUNDLE = b"site/repository.bundle"


def paths(saved: Saved) -> set[bytes]:
    return {item.entry.path for item in saved}


def facts(saved: Saved, name: str = "site") -> dict[str, Any]:
    found: dict[str, Any] = saved.facts["repositories"][name]
    return found


def test_without_uncommitted_only_what_is_committed_is_kept(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    source = made(site, uncommitted=False)
    saved = Saved(source.capture())
    assert not [path for path in paths(saved) if path.startswith((b"site/working-tree", b"site/git/index"))]
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert git(tmp_path / "copy/site", "status", "--porcelain") == b""
    assert source.examine(tmp_path / "copy") == saved.facts


def test_excluded_files_are_left_out_of_what_is_not_committed(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    (site / "large.bin").write_bytes(b"\0" * 1000)
    source = made(site, exclude=["*.bin", "untracked/", "modified.py"])
    saved = Saved(source.capture())
    kept = {path for path in paths(saved) if path.startswith(b"site/working-tree/")}
    assert kept == {b"site/working-tree/run.sh", b"site/working-tree/staged.py"}
    assert saved.flaws == []
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert source.examine(tmp_path / "copy") == saved.facts


def test_a_repository_inside_another_that_does_not_track_it_is_kept_file_by_file(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    inner = init(site / "vendor/inner")
    head = commit(inner, {"a.py": "a = 1\n"})
    source = made(site)
    saved = Saved(source.capture())
    assert facts(saved)["nested_repositories"] == ["vendor/inner"]
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert source.examine(tmp_path / "copy") == saved.facts
    assert git(tmp_path / "copy/site/vendor/inner", "rev-parse", "HEAD").decode().strip() == head
    assert git(tmp_path / "copy/site/vendor/inner", "status", "--porcelain") == b""


def test_a_linked_working_tree_is_kept_as_a_repository_of_its_own(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    git(site, "worktree", "add", "--quiet", "-b", "linked", str(tmp_path / "linked"))
    linked = tmp_path / "linked"
    (linked / "kept.py").write_text("# changed in the linked tree\n")
    (linked / "new.py").write_text("new\n")
    before = state(linked)
    source = made(linked)
    saved = Saved(source.capture())
    assert saved.flaws == []
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert (tmp_path / "copy/linked/.git").is_dir()
    assert state(tmp_path / "copy/linked") == before
    assert source.examine(tmp_path / "copy") == saved.facts


def test_what_only_another_working_tree_has_checked_out_is_in_the_bundle_too(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    git(site, "worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    only = commit(tmp_path / "linked", {"only.py": "only here\n"})
    source = made(site)
    saved = Saved(source.capture())
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert git(tmp_path / "copy/site", "cat-file", "-t", only) == b"commit\n"
    assert source.examine(tmp_path / "copy") == saved.facts


def test_a_bare_repository_beside_its_working_trees_brings_none_of_their_files(tmp_path: Path) -> None:
    work = rich(tmp_path / "work")
    top = tmp_path / "site"
    top.mkdir()
    git(tmp_path, "clone", "--quiet", "--bare", str(work), "site/.git")
    git(top, "worktree", "add", "--quiet", "main")
    saved = Saved(made(top).capture())
    assert saved.flaws == []
    assert not [path for path in paths(saved) if path.startswith(b"site/working-tree")]


def large_files(site: Path, *, fetched: bool = True) -> bytes:
    """A repository as git-lfs leaves it: a pointer in the history, the file in the working tree and beside it."""
    content = b"weights" * 10_000
    name = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{name}\nsize {len(content)}\n"
    init(site)
    commit(site, {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "model.bin": pointer, "a.py": "1\n"})
    (site / "model.bin").write_bytes(content)
    for key in ("clean", "smudge", "process"):
        git(site, "config", f"filter.lfs.{key}", "false")
    if fetched:
        stored = site / ".git/lfs/objects" / name[:2] / name[2:4] / name
        stored.parent.mkdir(parents=True)
        stored.write_bytes(content)
    return content


def test_large_files_are_named_kept_and_back_in_the_working_tree(tmp_path: Path) -> None:
    content = large_files(tmp_path / "site")
    name = hashlib.sha256(content).hexdigest()
    source = made(tmp_path / "site")
    saved = Saved(source.capture())
    assert facts(saved)["lfs"] == {
        "pointers": 1,
        "bytes": len(content),
        "named": [{"path": "model.bin", "sha256": name, "size": len(content)}],
        "missing": 0,
    }
    assert facts(saved)["modified"] == 0
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    copy = tmp_path / "copy/site"
    assert (copy / "model.bin").read_bytes() == content
    assert (copy / ".git/lfs/objects" / name[:2] / name[2:4] / name).read_bytes() == content
    assert source.examine(tmp_path / "copy") == saved.facts


def test_large_files_are_left_out_on_request(tmp_path: Path) -> None:
    large_files(tmp_path / "site")
    saved = Saved(made(tmp_path / "site", lfs=False, exclude=["*.bin"]).capture())
    assert not [path for path in paths(saved) if b"lfs" in path]
    assert facts(saved)["lfs"]["pointers"] == 1


def test_the_pointers_of_a_bare_repository_are_named_too(tmp_path: Path) -> None:
    large_files(tmp_path / "work")
    git(tmp_path, "clone", "--quiet", "--bare", "work", "site")
    saved = Saved(made(tmp_path / "site").capture())
    assert facts(saved)["lfs"]["missing"] == facts(saved)["lfs"]["pointers"] == 1


def test_a_partial_clone_is_kept_as_far_as_it_goes(tmp_path: Path) -> None:
    origin = init(tmp_path / "origin")
    for number in range(4):
        commit(origin, {"a.py": f"a = {number}\n"})
    git(origin, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "--quiet", "--filter=blob:none", origin.as_uri(), "site")
    site = tmp_path / "site"
    (site / "a.py").write_text("a = 'changed'\n")
    before = git(site, "status", "--porcelain")
    source = made(site)
    saved = Saved(source.capture())
    assert saved.flaws == []
    assert facts(saved)["partial"] is True
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert source.examine(tmp_path / "copy") == saved.facts
    assert git(tmp_path / "copy/site", "status", "--porcelain") == before
    assert git(tmp_path / "copy/site", "log", "-p", "--format=%s").count(b"\n+a = ") == 4, "fetched when it is needed"


def test_a_reference_to_nothing_is_told_and_the_others_are_kept(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    (site / ".git/refs/heads/garbage").write_text("no name\n")
    (site / ".git/refs/heads/gone").write_text("1" * 40 + "\n")
    saved = Saved(made(site).capture())
    assert {(flaw.path, flaw.what, flaw.why.split()[0]) for flaw in saved.flaws} == {
        (BUNDLE, "partial", "refs/heads/garbage"),
        (BUNDLE, "partial", "refs/heads/gone"),
    }
    assert facts(saved)["whole"] is False
    made(site).restore(saved, saved, tmp_path / "copy", Restoring())
    branches = git(tmp_path / "copy/site", "branch", "--format=%(refname:short)").split()
    assert branches == [b"feature/one", b"main"]


def test_a_file_that_goes_away_between_listing_and_reading_is_told(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    saved = Saved(_Interrupted(made(site), site / "untracked/notes.txt"))
    assert [(flaw.path, flaw.what) for flaw in saved.flaws] == [(b"site/working-tree/untracked/notes.txt", "vanished")]


class _Interrupted:
    """A capture during which a file goes away, once git has listed it."""

    def __init__(self, source: SourceCode, victim: Path) -> None:
        self._capture, self._victim = source.capture(), victim
        self.stored, self.flaws, self.facts = self._capture.stored, self._capture.flaws, self._capture.facts

    def __iter__(self) -> Iterator[Item]:
        for item in self._capture:
            if item.entry.path == BUNDLE:
                self._victim.unlink()
            yield item


def test_one_bad_repository_does_not_keep_the_others_from_being_stored(tmp_path: Path) -> None:
    good, bad = rich(tmp_path / "site"), rich(tmp_path / "bad")
    (bad / ".git/config").write_text("[core\n")
    saved = Saved(made(bad, good).capture())
    (flaw,) = saved.flaws
    assert (flaw.path, flaw.what) == (b"bad/repository.bundle", "unreadable")
    assert facts(saved, "bad") == {"whole": False}
    assert facts(saved)["whole"] is True


def test_two_of_one_name_are_an_error_that_says_what_to_write(tmp_path: Path) -> None:
    one, other = init(tmp_path / "a/site"), init(tmp_path / "b/site")
    with pytest.raises(SourceError, match="site-2"):
        made(one, other).capture()
    saved = Saved(made(one, {"path": other, "name": "site-b"}).capture())
    assert {path.split(b"/")[0] for path in paths(saved)} == {b"site", b"site-b"}


@pytest.mark.parametrize("name", ["nothing", "folder", "file", "site/inner", "pointer"])
def test_what_is_no_repository_is_one_clear_line(name: str, tmp_path: Path) -> None:
    rich(tmp_path / "site")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "pointer").mkdir()
    (tmp_path / "pointer/.git").write_text("gitdir: ../gone\n")
    with pytest.raises(SourceError) as raised:
        made(tmp_path / name).capture()
    text = str(raised.value)
    assert str(tmp_path / name) in text
    assert "is not a git repository" in text or "is not there" in text
    assert "\n" not in text
    if name == "site/inner":
        assert f"inside the repository `{tmp_path / 'site'}`" in text


def test_without_git_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = rich(tmp_path / "site")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="`git` is not installed"):
        Saved(made(site).capture())
    (problem,) = made(site).check()
    assert problem.fatal


def test_a_change_that_left_no_trace_in_size_or_time_is_found(tmp_path: Path) -> None:
    site = init(tmp_path / "site")
    git(site, "config", "core.trustctime", "false")
    git(site, "config", "core.checkStat", "minimal")
    moment = (1_700_000_000_000_000_000,) * 2
    (site / "a.py").write_text("a = 1\n")
    os.utime(site / "a.py", ns=moment)
    git(site, "add", "a.py")
    (site / "a.py").write_text("a = 2\n")
    for path in (site / "a.py", site / ".git/index"):
        os.utime(path, ns=moment)
    saved = Saved(made(site).capture())
    assert facts(saved)["modified"] == 1
    assert saved[b"site/working-tree/a.py"].content == b"a = 2\n"

"""Repositories of every kind come back as git itself sees them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.sources.source import Restoring
from tasks.sources.source_code import SourceCode
from tests.contracts.memory_items import Saved
from tests.git_sample import commit, git, init, made, rich, state

pytestmark = pytest.mark.needs("git")


def taken(source: SourceCode) -> Saved:
    saved = Saved(source.capture())
    assert saved.flaws == []
    return saved


def copied(source: SourceCode, into: Path) -> Path:
    """The first repository of the source, captured and restored."""
    saved = taken(source)
    assert source.restore(saved, saved, into, Restoring()) == []
    assert source.examine(into) == saved.facts
    return into / next(iter(source.roots()))


def a_working_tree(folder: Path) -> Path:
    return rich(folder / "site")


def a_bare_repository(folder: Path) -> Path:
    work = rich(folder / "work")
    git(folder, "clone", "--quiet", "--mirror", str(work), "site.git")
    git(folder / "site.git", "update-ref", "refs/stash", git(work, "rev-parse", "stash").strip())
    return folder / "site.git"


def without_commits(folder: Path) -> Path:
    return init(folder / "new")


def without_commits_but_staged(folder: Path) -> Path:
    new = init(folder / "new")
    (new / "first.py").write_text("first = True\n")
    git(new, "add", "first.py")
    (new / "first.py").write_text("first = False\n")
    (new / "second.py").write_text("second = True\n")
    return new


def with_sha256(folder: Path) -> Path:
    new = init(folder / "new", "--object-format=sha256")
    commit(new, {"a.py": "a = 1\n", "b.py": "b = 1\n"})
    (new / "a.py").write_text("a = 2\n")
    git(new, "stash")
    (new / "b.py").write_text("b = 2\n")
    git(new, "add", "b.py")
    return new


def with_a_detached_head(folder: Path) -> Path:
    site = init(folder / "site")
    first = commit(site, {"a.py": "a = 1\n"})
    commit(site, {"a.py": "a = 2\n"})
    git(site, "checkout", "--quiet", "--detach", first)
    commit(site, {"b.py": "only here\n"})
    return site


def with_names_of_any_bytes(folder: Path) -> Path:
    site = init(folder / "site")
    names = (b"caf\xe9.py", b"new\nline", b" space ", b'"quoted"', b"tab\there", b"\xff\xfe/\x80", b"-rf", b"a\\b")
    for name in names:
        path = os.path.join(os.fsencode(site), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"tracked\n" * 3)
    commit(site, {})
    for name in names[:6]:
        with open(os.path.join(os.fsencode(site), name), "ab") as file:
            file.write(b"changed\n")
        with open(os.path.join(os.fsencode(site), name + b".new"), "wb") as file:
            file.write(b"untracked\n")
    os.unlink(os.path.join(os.fsencode(site), names[6]))
    git(site, "update-ref", b"refs/heads/caf\xe9", "HEAD")
    return site


def in_the_middle_of_a_merge(folder: Path) -> Path:
    site = init(folder / "site")
    base = commit(site, {"a.py": "a = 1\n", "b.py": "b = 1\n", "c.py": "c = 1\n"})
    ours = commit(site, {"a.py": "a = 2\n", "b.py": "b = 2\n"})
    git(site, "checkout", "--quiet", "--detach", base)
    theirs = commit(site, {"a.py": "a = 3\n", "new.py": "new\n", "c.py": "c = 3\n"})
    git(site, "checkout", "--quiet", "main")
    assert git(site, "rev-parse", "HEAD").decode().strip() == ours
    git(site, "merge", theirs, check=False)
    assert b"<<<<<<<" in (site / "a.py").read_bytes()
    return site


def with_files_that_changed_their_type(folder: Path) -> Path:
    site = init(folder / "site")
    (site / "link").symlink_to("target")
    commit(site, {"file": "file\n", "folder/inside": "inside\n", "becomes a folder": "file\n", "gone/below": "below\n"})
    (site / "link").unlink()
    (site / "link").write_text("now a file\n")
    (site / "file").unlink()
    (site / "file").symlink_to("/nowhere")
    (site / "folder/inside").unlink()
    (site / "folder").rmdir()
    (site / "folder").symlink_to("elsewhere")
    (site / "becomes a folder").unlink()
    (site / "becomes a folder").mkdir()
    (site / "becomes a folder" / "with a file").write_text("file\n")
    return site


def with_links_in_the_place_of_folders(folder: Path) -> Path:
    site = init(folder / "site")
    commit(site, {"moved/same": "same\n", "moved/deep/changed": "before\n", "moved/assumed": "a\n", "plain": "plain\n"})
    git(site, "update-index", "--assume-unchanged", "moved/assumed")
    (site / "moved").rename(folder / "a larger disk")
    (site / "moved").symlink_to(folder / "a larger disk")
    (site / "moved/deep/changed").write_text("after\n")
    (site / "moved/new").write_text("new\n")
    return site


def with_files_git_was_told_not_to_look_at(folder: Path) -> Path:
    site = init(folder / "site")
    commit(site, {"assumed.py": "a = 1\n", "skipped.py": "b = 1\n", "absent.py": "c = 1\n", "plain.py": "d = 1\n"})
    git(site, "update-index", "--assume-unchanged", "assumed.py")
    git(site, "update-index", "--skip-worktree", "skipped.py", "absent.py")
    (site / "assumed.py").write_text("a = 'of this machine'\n")
    (site / "skipped.py").write_text("b = 'of this machine'\n")
    (site / "absent.py").unlink()
    (site / "announced.py").write_text("announced\n")
    git(site, "add", "--intent-to-add", "announced.py")
    return site


def without_an_index(folder: Path) -> Path:
    rich(folder / "origin")
    git(folder, "clone", "--quiet", "--no-checkout", "origin", "site")
    return folder / "site"


def with_a_split_index(folder: Path) -> Path:
    site = rich(folder / "site")
    git(site, "update-index", "--split-index")
    return site


def sparse(folder: Path) -> Path:
    site = init(folder / "site")
    commit(site, {f"{name}/{number}.py": name for name in ("one", "two", "three") for number in range(3)})
    git(site, "sparse-checkout", "set", "--sparse-index", "two")
    (site / "two/0.py").write_text("changed\n")
    return site


def shallow(folder: Path) -> Path:
    origin = init(folder / "origin")
    for number in range(5):
        commit(origin, {"a.py": f"a = {number}\n"})
    git(folder, "clone", "--quiet", "--depth=2", origin.as_uri(), "site")
    return folder / "site"


def with_borrowed_objects(folder: Path) -> Path:
    origin = rich(folder / "origin")
    git(folder, "clone", "--quiet", "--shared", str(origin), "site")
    commit(folder / "site", {"own.py": "own\n"})
    return folder / "site"


def with_line_ends_of_another_system(folder: Path) -> Path:
    site = init(folder / "site")
    git(site, "config", "core.autocrlf", "true")
    commit(site, {".gitattributes": "*.bat eol=crlf\n*.py text\n", "run.bat": "echo\r\necho\r\n", "a.py": "a\r\nb\r\n"})
    (site / "a.py").unlink()
    git(site, "checkout", "--", "a.py")
    (site / "run.bat").write_bytes(b"echo\r\nother\r\n")
    return site


def with_attributes_that_are_in_no_commit(folder: Path) -> Path:
    site = init(folder / "site")
    files = {"inner/wide.txt": "caf\xe9\n", "lines.bat": "echo\n", "inner/lines.bat": "echo\n", "own.bat": "echo\n"}
    commit(site, files | {".gitattributes": "*.bat eol=lf\n"})
    (site / "inner/.gitattributes").write_text("*.txt text working-tree-encoding=UTF-16LE\n")
    (site / ".gitattributes").write_text("*.bat eol=crlf\n")
    (site / ".git/info/attributes").write_text("own.bat -text\n")
    for name in files:
        (site / name).unlink()
    git(site, "checkout-index", "--force", "--index", *files)
    assert (site / "inner/wide.txt").read_bytes().startswith(b"c\0a\0f\0")
    assert [(site / name).read_bytes() for name in ("lines.bat", "own.bat")] == [b"echo\r\n", b"echo\n"]
    return site


def with_replaced_and_odd_references(folder: Path) -> Path:
    site = init(folder / "site")
    first = commit(site, {"a.py": "a = 1\n"})
    second = commit(site, {"a.py": "a = 2\n"})
    git(site, "replace", second, first)
    git(site, "tag", "blob", "HEAD:a.py")
    git(site, "tag", "tree", "HEAD^{tree}")
    git(site, "tag", "--annotate", "--message", "nested", "nested", "blob")
    git(site, "update-ref", "refs/custom/deep/one", first)
    return site


def with_stashes_by_people_of_odd_names(folder: Path) -> Path:
    site = init(folder / "site")
    commit(site, {"a.py": "a = 1\n"})
    for name in ("tab\tinside", "return\rinside", "caf\xe9"):
        (site / "a.py").write_text(f"# by {name!r}\n")
        git(site, "stash")
        history = site / ".git/logs/refs/stash"
        *older, newest = history.read_bytes().splitlines(keepends=True)
        history.write_bytes(b"".join([*older, newest.replace(b"Ada <", name.encode() + b" <")]))
    return site


KINDS: list[Callable[[Path], Path]] = [
    a_working_tree,
    a_bare_repository,
    without_commits,
    without_commits_but_staged,
    with_sha256,
    with_a_detached_head,
    with_names_of_any_bytes,
    in_the_middle_of_a_merge,
    with_files_that_changed_their_type,
    with_links_in_the_place_of_folders,
    with_files_git_was_told_not_to_look_at,
    without_an_index,
    with_a_split_index,
    sparse,
    shallow,
    with_borrowed_objects,
    with_line_ends_of_another_system,
    with_attributes_that_are_in_no_commit,
    with_replaced_and_odd_references,
    with_stashes_by_people_of_odd_names,
]


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_git_sees_no_difference_after_a_restore(make: Callable[[Path], Path], tmp_path: Path) -> None:
    repository = make(tmp_path / "original")
    before = state(repository)
    copy = copied(made(repository), tmp_path / "copy")
    assert state(copy) == before
    assert state(repository) == before


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    found = [path for path in folder.rglob("*") if ".git" not in path.parts and not path.is_dir()]
    return {str(path.relative_to(folder)): (path.lstat().st_mode & 0o111, path.read_bytes()) for path in found}


def test_everything_but_ignored_files_is_in_the_restored_working_tree(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    copy = copied(made(site), tmp_path / "copy")
    ignored = {"ignored.pyc", "other.swp"}
    assert files(copy) == {name: content for name, content in files(site).items() if name not in ignored}
    assert (copy / "untracked/link").is_symlink()


def test_unmodified_files_come_back_byte_for_byte_whatever_says_how_they_are_written(tmp_path: Path) -> None:
    site = with_attributes_that_are_in_no_commit(tmp_path / "original")
    assert files(copied(made(site), tmp_path / "copy")) == files(site)

"""What `check` tells of repositories before the night does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.sources.source import Problem
from tests.git_sample import commit, git, init, made, rich

pytestmark = pytest.mark.needs("git")


def problems(*repositories: object, **options: object) -> list[Problem]:
    found = made(*repositories, **options).check()
    assert all(problem.what and problem.advice and "\n" not in problem.what for problem in found)
    return found


def only(found: list[Problem], *, fatal: bool) -> str:
    (problem,) = found
    assert problem.fatal is fatal
    return problem.what


def test_a_good_repository_has_no_problem(tmp_path: Path) -> None:
    assert problems(rich(tmp_path / "site")) == []
    assert problems(init(tmp_path / "new")) == []


def test_all_that_are_no_repositories_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    found = problems(tmp_path / "folder", rich(tmp_path / "site"), tmp_path / "nowhere")
    assert [problem.fatal for problem in found] == [True, True]
    assert "`git init`" in found[0].what
    assert "is not there" in found[1].what


def test_two_of_one_name_are_fatal(tmp_path: Path) -> None:
    assert "site-2" in only(problems(init(tmp_path / "a/site"), init(tmp_path / "b/site")), fatal=True)


def test_a_missing_object_is_fatal(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    name = git(site, "rev-parse", "HEAD:kept.py").decode().strip()
    (site / ".git/objects" / name[:2] / name[2:]).unlink()
    assert name in only(problems(site), fatal=True)


def test_a_configuration_that_is_none_is_fatal(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    (site / ".git/config").write_text("[core\n")
    assert "bad config" in only(problems(site), fatal=True)


def test_borrowed_objects_that_are_gone_are_fatal(tmp_path: Path) -> None:
    origin = rich(tmp_path / "origin")
    git(tmp_path, "clone", "--quiet", "--shared", str(origin), "site")
    assert problems(tmp_path / "site") == []
    origin.rename(tmp_path / "moved")
    assert problems(tmp_path / "site")[0].fatal


def test_a_reference_to_nothing_is_fatal(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    (site / ".git/refs/heads/gone").write_text("1" * 40 + "\n")
    assert "refs/heads/gone" in only(problems(site), fatal=True)


def test_a_shallow_clone_is_told(tmp_path: Path) -> None:
    origin = init(tmp_path / "origin")
    commit(origin, {"a.py": "1\n"})
    commit(origin, {"a.py": "2\n"})
    git(tmp_path, "clone", "--quiet", "--depth=1", origin.as_uri(), "site")
    assert "shallow" in only(problems(tmp_path / "site"), fatal=False)


def test_a_partial_clone_is_told(tmp_path: Path) -> None:
    origin = init(tmp_path / "origin")
    commit(origin, {"a.py": "1\n"})
    git(origin, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "--quiet", "--filter=blob:none", origin.as_uri(), "site")
    assert "partial" in only(problems(tmp_path / "site"), fatal=False)


def test_a_submodule_is_told_unless_it_is_named_too(tmp_path: Path) -> None:
    library, site = init(tmp_path / "library"), init(tmp_path / "site")
    commit(library, {"lib.py": "lib = 1\n"})
    git(site, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "third/lib")
    commit(site, {})
    assert "third/lib" in only(problems(site), fatal=False)
    assert problems(site, site / "third/lib") == []


def test_a_linked_working_tree_is_told_unless_it_is_named_too(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    git(site, "worktree", "add", "--quiet", "-b", "linked", str(tmp_path / "linked"))
    assert "linked" in only(problems(site), fatal=False)
    assert problems(site, tmp_path / "linked") == []


def test_a_repository_inside_that_nobody_tracks_is_told_unless_it_is_named_and_excluded(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    inner = init(site / "vendor/inner")
    commit(inner, {"a.py": "1\n"})
    assert "vendor/inner" in only(problems(site), fatal=False)
    assert problems(site, inner, exclude=["vendor/inner/"]) == []


def test_large_files_that_are_not_here_or_not_wanted_are_told(tmp_path: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12345\n"
    site = init(tmp_path / "site")
    commit(site, {".gitattributes": "*.bin filter=lfs\n", "model.bin": pointer})
    assert "model.bin" in only(problems(site), fatal=False)
    assert "lfs = false" in only(problems(site, lfs=False), fatal=False)


def test_the_git_directory_of_a_submodule_is_told_to_be_that(tmp_path: Path) -> None:
    library, site = init(tmp_path / "library"), init(tmp_path / "site")
    commit(library, {"lib.py": "lib = 1\n"})
    git(site, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    assert "../../../lib" in only(problems(site / ".git/modules/lib"), fatal=False)

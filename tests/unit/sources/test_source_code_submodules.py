"""What is kept of submodules: their names with the repository around them, all else as repositories of their own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.sources.source import Restoring
from tests.contracts.memory_items import Saved
from tests.git_sample import commit, git, init, made

pytestmark = pytest.mark.needs("git")


def facts(saved: Saved, name: str = "site") -> dict[str, Any]:
    found: dict[str, Any] = saved.facts["repositories"][name]
    return found


def test_submodules_are_named_and_kept_when_they_are_named_as_repositories(tmp_path: Path) -> None:
    library = init(tmp_path / "library")
    head = commit(library, {"lib.py": "lib = 1\n"})
    site = init(tmp_path / "site")
    git(site, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "third/lib")
    commit(site, {"a.py": "a = 1\n"})
    (site / "third/lib/new.py").write_text("new\n")
    source = made(site, site / "third/lib")
    saved = Saved(source.capture())
    assert facts(saved)["named_submodules"] == [{"path": "third/lib", "url": str(library), "commit": head}]
    assert facts(saved, "lib")["head_commit"] == head
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert source.examine(tmp_path / "copy") == saved.facts
    assert git(tmp_path / "copy/lib", "status", "--porcelain") == b"?? new.py\n"
    assert git(tmp_path / "copy/site", "status", "--porcelain") == b""


def test_what_stands_in_the_place_of_a_submodule_and_is_no_repository_is_kept(tmp_path: Path) -> None:
    site, ours = init(tmp_path / "site"), tmp_path / "ours"
    for name in ("plain", "linked", "empty", "file"):
        commit(init(site / name), {"lib.py": "lib = 1\n"})
    commit(site, {"a.py": "a = 1\n"})
    (site / "linked").rename(ours)
    (site / "linked").symlink_to(ours)
    for name in ("plain", "empty", "file"):
        shutil.rmtree(site / name / ".git")
    (site / "plain/deep").mkdir()
    (site / "plain/deep/only here.py").write_text("changed\n")
    for name in ("empty", "file"):
        (site / name / "lib.py").unlink()
    (site / "file").rmdir()
    (site / "file").write_text("a file\n")
    source = made(site, ours)
    assert source.check() == []
    saved = Saved(source.capture())
    assert saved.flaws == []
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert source.examine(tmp_path / "copy") == saved.facts
    copy = tmp_path / "copy/site"
    assert (copy / "plain/deep/only here.py").read_text() == "changed\n"
    assert (copy / "linked").readlink() == ours
    assert (copy / "file").read_text() == "a file\n"
    assert list((copy / "empty").iterdir()) == []
    assert git(copy, "ls-files", "--stage") == git(site, "ls-files", "--stage")

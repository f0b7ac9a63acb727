"""A history that is as it was is not counted again: git goes through all of it for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.repository import Repository, Snapshot
from tasks.sources.git.bundle import count_objects
from tasks.sources.source_code import SourceCode
from tests.git_sample import commit, git, made, rich
from tests.memory_source import MemoryCapture
from tests.repositories import about, create, keys, local

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What git counted, each time that it was asked."""
    found = list[int]()

    def count(*asked: Any) -> int:
        found.append(count_objects(*asked))
        return found[-1]

    monkeypatch.setattr("tasks.sources.git.view.count_objects", count)
    return found


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    destination = create(local(tmp_path / "repository")).destination
    return Repository.open(destination, keys().reader, cache=tmp_path / "cache")


def save(repository: Repository, source: SourceCode, night: int) -> Snapshot:
    return repository.save(source.capture(), about(night), repository.destination)


def objects(snapshot: Snapshot, name: str = "site") -> int:
    found: int = snapshot.facts["repositories"][name]["objects"]
    return found


def test_only_a_history_that_changed_is_counted_again(
    repository: Repository, tmp_path: Path, counted: list[int]
) -> None:
    site, other = rich(tmp_path / "site"), rich(tmp_path / "other")
    source = made(site, other)
    first = save(repository, source, 1)
    assert len(counted) == 2
    second = save(repository, source, 2)
    assert len(counted) == 2, "it was counted again"
    assert second.facts == first.facts
    commit(other, {"new.py": "new = True\n"})
    third = save(repository, source, 3)
    assert len(counted) == 3
    assert objects(third) == objects(first) > 0
    assert objects(third, "other") == counted[-1] > objects(first, "other")
    git(site, "tag", "newer")
    assert objects(save(repository, source, 4)) == counted[-1]
    assert len(counted) == 4


def test_the_working_tree_is_looked_at_nevertheless(repository: Repository, tmp_path: Path, counted: list[int]) -> None:
    site = rich(tmp_path / "site")
    before = save(repository, made(site), 1)
    (site / "untracked-too.txt").write_text("new\n")
    after = save(repository, made(site), 2)
    assert len(counted) == 1
    untracked = [each.facts["repositories"]["site"]["untracked"] for each in (before, after)]
    assert untracked[1] == untracked[0] + 1


def test_what_was_not_whole_is_counted_each_night(repository: Repository, tmp_path: Path, counted: list[int]) -> None:
    """And it is whole as soon as the object is there again."""
    site = rich(tmp_path / "site")
    blob = git(site, "hash-object", "-w", "--stdin", given=b"soon lost\n").strip().decode()
    tree = git(site, "mktree", given=f"100644 blob {blob}\tlost\n".encode()).strip().decode()
    lost = git(site, "commit-tree", tree, "-m", "lost").strip().decode()
    git(site, "update-ref", "refs/heads/lost", lost)
    place = site / ".git/objects" / blob[:2] / blob[2:]
    kept = place.read_bytes()
    place.unlink()
    first = save(repository, made(site), 1)
    second = save(repository, made(site), 2)
    assert not first.complete
    assert not second.complete
    place.write_bytes(kept)
    third = save(repository, made(site), 3)
    assert third.complete
    assert objects(third) == counted[-1] > 0


def test_a_source_that_was_of_another_kind_is_counted(repository: Repository, tmp_path: Path) -> None:
    repository.save(MemoryCapture({b"site": b"a file"}), about(1), repository.destination)
    assert objects(save(repository, made(rich(tmp_path / "site")), 2)) > 0

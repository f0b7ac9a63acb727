"""A long history is kept in sections: a night reads what is new, and what comes back is all of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tasks.errors import Damaged
from tasks.item import Stored
from tasks.repository import Repository, Snapshot
from tasks.repository.reading import Items
from tasks.sources.git import sections as module
from tasks.sources.git.document import Document
from tasks.sources.git.sections import BUNDLE, section
from tasks.sources.source import Restoring
from tests.contracts.memory_items import Saved
from tests.git_sample import commit, git, init, made, rich, state
from tests.repositories import about, create, keys, local, read_through

pytestmark = pytest.mark.needs("git")

_TEXT = "".join(f"line {number} of a file\n" for number in range(400))


class Nights:
    """Snapshots of one repository, night after night."""

    def __init__(self, site: Path, tmp_path: Path) -> None:
        self.site, self._scratch, self.number = site, tmp_path, 0
        destination = create(local(tmp_path / "repository")).destination
        self.repository = Repository.open(destination, keys().reader, cache=tmp_path / "cache")

    def save(self) -> Snapshot:
        self.number += 1
        return self.repository.save(made(self.site).capture(), about(self.number), self.repository.destination)

    def items(self, snapshot: Snapshot) -> Items:
        return self.repository.read(snapshot)

    def names(self, snapshot: Snapshot) -> list[bytes]:
        """Of the sections."""
        found = (item.entry.path.partition(b"/")[2] for item in self.items(snapshot))
        return [name for name in found if section(name)]

    def assert_comes_back(self, snapshot: Snapshot) -> None:
        """All of it, as the repository is now."""
        copy = self._scratch / f"copy-{self.number}"
        items, source = self.items(snapshot), made(self.site)
        assert source.restore(items, items, copy, Restoring()) == []
        assert state(copy / self.site.name) == state(self.site)
        assert source.examine(copy) == snapshot.facts
        git(copy / self.site.name, "fsck", "--strict")


def grow(site: Path, night: int) -> str:
    return commit(site, {f"{night}.txt": f"{night}\n{_TEXT}", "same.txt": f"{_TEXT}{night}\n"}, f"night {night}")


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nights:
    """A history that is long for this test."""
    monkeypatch.setattr(module, "_LARGE", 30_000)
    site = rich(tmp_path / "site")
    for night in range(8):
        grow(site, night)
    return Nights(site, tmp_path)


def test_a_night_reads_what_is_new_and_everything_comes_back(long: Nights) -> None:
    first = long.save()
    (name,) = long.names(first)
    assert name.startswith(b"history/0001-")
    long.assert_comes_back(first)
    grow(long.site, 100)
    second = long.save()
    assert long.names(second) == [name]
    assert second.figures["read_bytes"] < first.figures["read_bytes"] / 3
    assert second.facts["repositories"]["site"]["objects"] > first.facts["repositories"]["site"]["objects"]
    long.assert_comes_back(second)
    third = long.save()
    assert third.figures["read_bytes"] < 3000, "only repository.json, which is always read"
    assert third.facts == second.facts
    assert all(snapshot.complete for snapshot in (first, second, third))


def test_what_has_grown_becomes_a_section_and_many_begin_anew(long: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 3)
    counts = []
    for night in range(100, 124):
        grow(long.site, night)
        snapshot = long.save()
        counts.append(len(long.names(snapshot)))
        assert snapshot.complete
        if counts[-2:] in ([1, 2], [3, 1]):
            long.assert_comes_back(snapshot)
    assert {1, 2, 3} == set(counts)
    assert any(after == 1 and before == 3 for before, after in pairwise(counts))


def test_a_history_that_turned_out_long_is_divided_when_it_changes(
    long: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a night that would read nothing."""
    monkeypatch.setattr(module, "_packed", lambda _: 0)
    first = long.save()
    second = long.save()
    assert long.names(first) == long.names(second) == []
    assert second.figures["read_bytes"] < 3000
    grow(long.site, 100)
    third = long.save()
    assert len(long.names(third)) == 1
    long.assert_comes_back(third)


def test_git_alone_puts_the_bundles_together(long: Nights, tmp_path: Path) -> None:
    """As FORMAT.md says."""
    snapshot = long.save()
    for night in range(100, 110):
        grow(long.site, night)
        snapshot = long.save()
    names = [*long.names(snapshot), BUNDLE]
    assert len(names) > 2
    git(init(tmp_path / "by-hand"), "symbolic-ref", "HEAD", "refs/heads/none")
    for number, name in enumerate(names):
        file = tmp_path / f"{number}.bundle"
        file.write_bytes(read_through(long.items(snapshot), b"site/" + name))
        git(tmp_path / "by-hand", "fetch", "--quiet", str(file), "refs/*:refs/*")
    for name in git(tmp_path / "by-hand", "for-each-ref", "--format=%(refname)", "refs/geometra").split():
        git(tmp_path / "by-hand", "update-ref", "-d", name)
    assert git(tmp_path / "by-hand", "show-ref") == git(long.site, "show-ref")
    git(tmp_path / "by-hand", "fsck", "--strict")


@pytest.mark.parametrize("how", ["amended", "another branch", "emptied"])
def test_of_a_history_that_was_rewritten_nothing_is_kept(how: str, long: Nights) -> None:
    grow(long.site, 99)
    before = long.names(long.save())
    if how == "amended":
        git(long.site, "commit", "--quiet", "--amend", "--message", "otherwise")
    elif how == "another branch":
        git(long.site, "checkout", "--quiet", "-B", "other", "HEAD~2")
        git(long.site, "branch", "--quiet", "--force", "main", "other")
        grow(long.site, 200)
    else:
        shutil.rmtree(long.site)
        commit(init(long.site), {"a.py": "a = 1\n"})
    git(long.site, "reflog", "expire", "--expire=now", "--all")
    git(long.site, "gc", "--quiet", "--prune=now")
    after = long.save()
    assert after.complete
    assert not set(before) & set(long.names(after))
    long.assert_comes_back(after)


def test_where_other_branches_are_most_of_the_rest_they_make_no_sections(long: Nights) -> None:
    snapshot = long.save()
    git(long.site, "stash", "--include-untracked", "--quiet")
    git(long.site, "checkout", "--quiet", "--orphan", "apart")
    for night in range(100, 110):
        grow(long.site, night)
    git(long.site, "checkout", "--quiet", "main")
    for night in range(3):
        grow(long.site, 200 + night)
        snapshot = long.save()
        assert len(long.names(snapshot)) == 1
    long.assert_comes_back(snapshot)


def test_a_missing_object_of_a_section_is_told_by_its_name(long: Nights) -> None:
    lost = git(long.site, "rev-parse", "HEAD~3:same.txt").decode().strip()
    (long.site / ".git/objects" / lost[:2] / lost[2:]).unlink()
    snapshot = long.save()
    (flaw,) = snapshot.flaws
    assert flaw.path.startswith("site/history/0001-")
    assert (flaw.what, snapshot.complete) == ("unreadable", False)
    assert lost in flaw.why
    assert snapshot.facts["repositories"]["site"]["whole"] is False
    missing = long.items(snapshot)
    made(long.site).restore(missing, missing, long.site.parent / "files", Restoring())
    assert (long.site.parent / "files/site/repository.bundle").is_file(), "as files, for it is not all there"


def test_without_what_is_remembered_the_sections_begin_anew(long: Nights, tmp_path: Path) -> None:
    first = long.save()
    grow(long.site, 100)
    shutil.rmtree(tmp_path / "cache")
    second = long.save()
    assert long.names(second) != long.names(first)
    assert second.figures["read_bytes"] > 0.8 * first.figures["read_bytes"]
    long.assert_comes_back(second)


def shallow(site: Path, target: Path) -> Path:
    git(site.parent, "clone", "--quiet", "--depth=6", f"file://{site}", str(target))
    return target


def headless(site: Path, target: Path) -> Path:
    git(site, "symbolic-ref", "HEAD", "refs/heads/none")
    return site


def detached(site: Path, target: Path) -> Path:
    git(site, "stash", "--include-untracked", "--quiet")
    git(site, "checkout", "--quiet", "--detach", "HEAD~2")
    return site


@pytest.mark.parametrize(("change", "count"), [(shallow, 0), (headless, 0), (detached, 1)])
def test_odd_histories(change: Callable[[Path, Path], Path], count: int, long: Nights, tmp_path: Path) -> None:
    long.site = change(long.site, tmp_path / "odd" / "site")
    snapshot = long.save()
    assert len(long.names(snapshot)) == count
    assert snapshot.complete
    long.assert_comes_back(snapshot)


def test_a_restore_without_a_section_gives_files(long: Nights, tmp_path: Path) -> None:
    items = long.items(long.save())
    chosen: list[Stored] = [item for item in items if b"/history/" not in item.entry.path]
    made(long.site).restore(items, chosen, tmp_path / "files", Restoring())
    assert (tmp_path / "files/site/repository.bundle").is_file()
    assert not (tmp_path / "files/site/.git").exists()


def test_what_is_no_section_of_ours_is_damage(long: Nights) -> None:
    saved = Saved(made(long.site).capture())
    document = saved[b"site/repository.json"].content
    (name,) = (item.entry.path.partition(b"/")[2] for item in saved if b"/history/" in item.entry.path)
    assert Document.from_bytes(document).sections == (name,)
    for wrong in (b"../0001-" + b"a" * 40, b"history/0001-x.bundle", b"git/config"):
        with pytest.raises(Damaged):
            Document.from_bytes(document.replace(name, wrong))

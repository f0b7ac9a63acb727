"""Files that are listed together are stored, taken over and counted as those that are listed one by one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from tasks.errors import BackupError
from tasks.item import FILE, Item
from tasks.listing import Listed, Stamp, one_by_one
from tasks.repository import Repository, Snapshot
from tests.memory_source import File, MemoryCapture, contents, tree
from tests.repositories import about, create, keys, local, packs, restored

NIGHTS = 6


class Some:
    """`Siblings` of what another capture lists; notes which become items."""

    def __init__(self, items: list[Item], made: list[bytes]) -> None:
        self._items, self._made = items, made
        self.paths = [item.entry.path for item in items]

    @property
    def size(self) -> int:
        return sum(item.entry.size for item in self._items)

    def stamps(self) -> list[Stamp]:
        return [(entry.mtime_ns, entry.size, entry.version) for entry, *_ in self._items]

    def item(self, at: int) -> Item:
        self._made.append(self.paths[at])
        return self._items[at]

    def after(self, count: int) -> Some:
        return Some(self._items[count:], self._made)


class TogetherCapture(MemoryCapture):
    """Files of one folder come together, up to `most` of them; in `made` are those that became items."""

    made: list[bytes]
    most = 7

    def listed(self) -> Iterator[Listed]:
        self.made = []
        for folder, items in groupby(self, key=lambda item: item.entry.type == FILE and _folder(item)):
            together = list(items)
            if folder is False:
                yield from together
                continue
            for at in range(0, len(together), self.most):
                yield Some(together[at : at + self.most], self.made)


def _folder(item: Item) -> bytes:
    return item.entry.path.rpartition(b"/")[0]


def files_of(dice: random.Random) -> dict[bytes, File | bytes]:
    """Many files in a few folders: some have no digest, may have changed while they were read, or have many chunks."""
    files: dict[bytes, File | bytes] = {}
    for number in range(dice.randrange(250)):
        path = b"%s/%03d" % (dice.choice([b"a", b"a/b", b"a-b", b"c"]), number)
        files[path] = changed(dice)
    return files


def changed(dice: random.Random) -> File:
    kept: dict[str, object] = {"version": (0, 1)} if dice.random() < 0.05 else {}
    size = 150_000 if dice.random() < 0.01 else dice.randrange(60)
    return File(dice.randbytes(size), kept, want_digest=dice.random() < 0.9)


def next_night(files: dict[bytes, File | bytes], dice: random.Random) -> dict[bytes, File | bytes]:
    often = dice.choice([0.0, 0.01, 0.2])
    after = {path: changed(dice) if dice.random() < often else file for path, file in files.items()}
    for path in dice.sample(sorted(after), round(len(after) * often)):
        file = after.pop(path)
        assert isinstance(file, File)
        match dice.randrange(4):
            case 0:
                after[path + b"-more"] = changed(dice)
            case 1:
                after[path + b"-moved"] = file
            case 2:
                after[path] = replace(file, want_digest=True)
    return after


def figures_of(snapshot: Snapshot) -> dict[str, float]:
    return {name: value for name, value in snapshot.figures.items() if name != "seconds"}


def lose(repository: Repository, stored: set[str]) -> None:
    for name in stored:
        repository.destination.delete(name)


@pytest.mark.parametrize("seed", range(25))
def test_what_is_listed_together_is_stored_as_what_is_listed_one_by_one(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    files = files_of(dice)
    alone, together = (create(local(tmp_path / name)) for name in ("alone", "together"))
    added: list[tuple[set[str], set[str]]] = []
    for night in range(NIGHTS):
        if added and dice.random() < 0.3:
            for repository, stored in zip((alone, together), added.pop(dice.randrange(len(added))), strict=True):
                lose(repository, stored)
        before = set(packs(alone)), set(packs(together))
        captures = MemoryCapture(tree_of(files)), TogetherCapture(tree_of(files))
        first = alone.save(captures[0], about(night), alone.destination)
        second = together.save(captures[1], about(night), together.destination)
        added.append((set(packs(alone)) - before[0], set(packs(together)) - before[1]))
        assert captures[0].opened == captures[1].opened
        assert captures[0].kept == captures[1].kept
        assert (first.level, first.content, figures_of(first)) == (second.level, second.content, figures_of(second))
        assert restored(together, second) == contents(files)
        files = next_night(files, dice)
    assert together.check("content").good == alone.check("content").good


def tree_of(files: dict[bytes, File | bytes]) -> dict[bytes, File | bytes]:
    plain = tree(dict.fromkeys(files, b""))
    return plain | files


def test_a_file_that_did_not_change_never_becomes_an_item(repository: Repository) -> None:
    files = tree_of({b"a/%03d" % number: File(b"%d" % number, want_digest=True) for number in range(300)})
    repository.save(MemoryCapture(files), about(0), repository.destination)
    files[b"a/100"] = File(b"changed", want_digest=True)
    capture = TogetherCapture(files)
    snapshot = repository.save(capture, about(1), repository.destination)
    assert capture.made == [b"a/100"]
    assert (snapshot.figures["files"], snapshot.figures["unchanged"]) == (300, 299)


@pytest.mark.parametrize("again", [3, 6])
def test_what_comes_again_after_files_that_were_taken_over_is_out_of_order(repository: Repository, again: int) -> None:
    class Disorderly(TogetherCapture):
        def listed(self) -> Iterator[Listed]:
            folder, some = super().listed()
            assert not isinstance(some, Item)
            return iter((folder, some, some.item(again)))

    files = tree_of({b"a/%d" % number: File(b"%d" % number, want_digest=True) for number in range(7)})
    before = repository.save(MemoryCapture(files), about(0), repository.destination)
    with pytest.raises(BackupError, match="out of order"):
        repository.save(Disorderly(files), about(1), repository.destination)
    assert repository.snapshots() == [before]


def test_the_rest_of_what_is_listed_together_is_the_rest(repository: Repository) -> None:
    files = tree_of({b"a/%d" % number: b"" for number in range(7)})
    folder, some = TogetherCapture(files).listed()
    assert isinstance(folder, Item)
    assert not isinstance(some, Item)
    assert [item.entry.path for item in one_by_one([some.after(5)])] == [b"a/5", b"a/6"]


def test_a_file_of_columns_that_did_not_change_needs_the_format_that_it_needed(tmp_path: Path) -> None:
    made = create(local(tmp_path / "store"))
    repository = Repository.open(made.destination, keys().reader, cache=tmp_path / "cache")
    rows = random.Random(1).randbytes(100_000)
    files = tree_of({b"a/rows": File(rows, want_digest=True, columns=(10, 80, 10))})
    for night in range(2):
        capture = TogetherCapture(files)
        snapshot = repository.save(capture, about(night), repository.destination)
        assert (snapshot.format, capture.made) == (2, [] if night else [b"a/rows"])

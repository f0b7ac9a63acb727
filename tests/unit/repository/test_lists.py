"""Chunks of lists come in the order in which they are named; a block is read once for many of them."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tasks.destinations import Destination
from tasks.errors import Damaged
from tasks.repository import Repository, Snapshot, lists, storing
from tasks.repository.blocks import Blocks
from tasks.repository.lists import Lists
from tasks.repository.pack import NAME
from tasks.repository.references import References
from tests.passing_destination import Passing
from tests.repositories import create, keys, local, save

NIGHTS, ITEMS = 28, 4000
MOST_READS = 2
"""Of a block: for the nodes in it, and for what they name, all at once."""


class Counted(Passing):
    """How often each stretch of a pack is read."""

    def __init__(self, inner: Destination) -> None:
        super().__init__(inner)
        self.reads = Counter[tuple[str, int]]()

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if name.startswith("packs/"):
            self.reads[name, offset] += 1
        return self._inner.get(name, offset, length)


@pytest.fixture
def aged(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Counted, Snapshot, set[bytes]]:
    """A list that has changed in places for many nights, and lies in a block of each of them."""
    monkeypatch.setattr(storing, "TARGET", 32 << 10)
    chance = random.Random(1)
    files = {b"%05d" % at: b"" for at in range(ITEMS)}
    repository = create(local(fast_path))
    snapshot = save(repository, files, 0)
    for night in range(1, NIGHTS):
        for path in chance.sample(sorted(files), 20):
            files[path] = chance.randbytes(20)
        snapshot = save(repository, files, night)
    return Counted(repository.destination), snapshot, set(files)


def test_an_old_list_s_blocks_are_not_read_again_and_again(aged: tuple[Counted, Snapshot, set[bytes]]) -> None:
    counted, snapshot, paths = aged
    items = [item.entry.path for item in Repository.open(counted, keys().reader).read(snapshot)]
    assert items == sorted(paths)
    assert len(counted.reads) > NIGHTS
    assert max(counted.reads.values()) <= MOST_READS


def test_nor_are_they_when_it_is_followed(aged: tuple[Counted, Snapshot, set[bytes]]) -> None:
    counted, snapshot, _ = aged
    repository = Repository.open(counted, keys().reader)
    assert not References(Blocks(counted, repository.whole_index(), repository.keys)).follow([snapshot]).findings
    assert len(counted.reads) > NIGHTS
    assert max(counted.reads.values()) <= MOST_READS


def test_what_can_t_be_had_is_told_in_its_place(fast_path: Path) -> None:
    repository = create(local(fast_path))
    snapshot = save(repository, {b"%04d" % at: b"" for at in range(3000)}, 0)
    found = Lists(Blocks(repository.destination, repository.whole_index(), repository.keys))
    names = b"".join(found.leaves(snapshot.level, bytes.fromhex(snapshot.content), "a list"))
    groups = list(found.chunks(names, "a list"))
    assert len(groups) == len(names) // NAME > 100
    odd = names[: 5 * NAME] + bytes(NAME) + names[5 * NAME : 9 * NAME] + b"cut"
    told = list(found.find(odd, "a list"))
    assert told[:5] == groups[:5]
    assert isinstance(told[5], Damaged)
    assert told[6:10] == groups[5:9]
    assert isinstance(told[10], Damaged)
    assert len(told) == 11
    with pytest.raises(Damaged, match="a list"):
        list(found.chunks(odd, "a list"))
    reader = found.chunks(odd, "a list")
    assert [next(reader) for _ in range(5)] == groups[:5], "what comes before it is there"


def test_windows_of_any_size_give_the_same(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = create(local(fast_path))
    paths = [b"%04d" % at for at in range(2000)]
    snapshot = save(repository, dict.fromkeys(paths, b""), 0)
    for window in (1, 1000, 1 << 20):
        monkeypatch.setattr(lists, "_WINDOW", window)
        assert [item.entry.path for item in repository.read(snapshot)] == paths

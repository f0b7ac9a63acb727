"""Chunks of lists come in the order in which they are named; a block is read once for many of them."""

from __future__ import annotations

import os
import random
from collections import Counter
from operator import attrgetter
from pathlib import Path

import pytest

from tasks.destinations import Destination
from tasks.destinations.destination import OnDisk
from tasks.errors import Damaged
from tasks.repository import Repository, Snapshot, block, lists
from tasks.repository.blocks import Blocks, Fetched
from tasks.repository.lists import Lists
from tasks.repository.pack import LISTS, NAME, object_name
from tasks.repository.references import References
from tests.passing_destination import Passing
from tests.repositories import create, keys, local, save

NIGHTS, ITEMS = 28, 4000
MOST_READS = 2
"""Of a pack's bytes: for the nodes in it, and for what they name, all at once."""


class Counted(Passing):
    """How much of each pack is read, and in how many reads."""

    def __init__(self, inner: Destination) -> None:
        super().__init__(inner)
        self.read, self.reads = Counter[str](), 0

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = self._inner.get(name, offset, length)
        if name.startswith("packs/"):
            self.read[name] += len(data)
            self.reads += 1
        return data

    def most_read(self) -> float:
        """Of the pack of which most is read, how many times its size."""
        sizes = dict(self.list("packs/"))
        return max(read / sizes[name] for name, read in self.read.items())


@pytest.fixture
def aged(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Counted, Snapshot, set[bytes]]:
    """A list that has changed in places for many nights, and lies in a block of each of them."""
    monkeypatch.setattr(block, "LIST_TARGET", 32 << 10)
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
    assert len(counted.read) >= NIGHTS
    assert counted.most_read() <= MOST_READS


def test_nor_are_they_when_it_is_followed(aged: tuple[Counted, Snapshot, set[bytes]]) -> None:
    counted, snapshot, _ = aged
    repository = Repository.open(counted, keys().reader)
    assert not References(Blocks(counted, repository.whole_index(), repository.keys)).follow([snapshot]).findings
    assert len(counted.read) >= NIGHTS
    assert counted.most_read() <= MOST_READS


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each block is decoded."""
    counted, decode = Counter[int](), Blocks.decode

    def counting(blocks: Blocks, number: int, fetched: Fetched) -> memoryview:
        counted[number] += 1
        return decode(blocks, number, fetched)

    monkeypatch.setattr(Blocks, "decode", counting)
    return counted


def test_a_list_of_two_nights_is_decoded_hardly_more_than_once(
    fast_path: Path, decoded: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the next window needs must not be what has made room for this one."""
    assert lists._NEAR >= 1.5 * lists._WINDOW
    for module, name, size in ((block, "LIST_TARGET", 8), (lists, "_WINDOW", 32), (lists, "_NEAR", 48)):
        monkeypatch.setattr(module, name, size << 10)
    chance = random.Random(1)
    files = {b"%05d" % at: chance.randbytes(20) for at in range(ITEMS)}
    repository = create(local(fast_path))
    save(repository, files, 0)
    for path in chance.sample(sorted(files), ITEMS // 100):
        files[path] = chance.randbytes(20)
    snapshot = save(repository, files, 1)

    def mean() -> float:
        decoded.clear()
        assert len(list(Repository.open(repository.destination, keys().reader).read(snapshot))) == ITEMS
        return decoded.total() / len(decoded)

    kept = mean()
    monkeypatch.setattr(lists, "_NEAR", 1)
    assert kept < 1.25
    assert mean() > kept


def test_neighbours_are_read_together(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "LIST_TARGET", 8 << 10)
    repository = create(local(fast_path))
    paths = [b"%05d" % at for at in range(ITEMS)]
    snapshot = save(repository, dict.fromkeys(paths, b""), 0)
    blocks = sum(pack.blocks for pack in repository.whole_index().packs if pack.kind == LISTS)

    def reads() -> int:
        counted = Counted(repository.destination)
        items = Repository.open(counted, keys().reader).read(snapshot)
        assert [item.entry.path for item in items] == paths
        return counted.reads

    assert reads() <= 2 * blocks / 3
    monkeypatch.setattr(lists, "_RANGE", 1)
    assert reads() >= blocks


def test_of_a_pack_cut_short_what_is_left_is_read(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "LIST_TARGET", 8 << 10)
    repository = create(local(fast_path))
    snapshot = save(repository, {b"%05d" % at: b"" for at in range(ITEMS)}, 0)
    index = repository.whole_index()
    blocks = Blocks(repository.destination, index, repository.keys)
    names = b"".join(Lists(blocks).leaves(snapshot.level, bytes.fromhex(snapshot.content), "a list"))
    pack = max((pack for pack in index.packs if pack.kind == LISTS), key=attrgetter("blocks"))
    middle = pack.first + pack.blocks // 2
    *_, first_lost = index.block(middle)
    assert isinstance(repository.destination, OnDisk)
    path = repository.destination.path_of(object_name(pack.name))
    assert path
    path.chmod(0o600)
    os.truncate(path, first_lost.offset + 10)
    told = Lists(Blocks(repository.destination, index, repository.keys)).find(names, "a list")
    of_blocks, *_ = index.places(index.rows(names))
    lost = [middle <= at < pack.first + pack.blocks for at in of_blocks.tolist()]
    assert [isinstance(each, Damaged) for each in told] == lost
    assert 10 < sum(lost) < len(lost) - 10


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

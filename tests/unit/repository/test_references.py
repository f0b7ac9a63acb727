"""What a snapshot refers to is all marked, and nothing else; what can't be followed is told."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.repository import Repository, Snapshot, records, references
from tasks.repository.blocks import Blocks
from tasks.repository.lists import Lists
from tasks.repository.pack import NAME
from tasks.repository.references import References
from tests.memory_source import File
from tests.repositories import create, local, save

MIB = 1 << 20


@pytest.fixture
def repository(fast_path: Path) -> Repository:
    return create(local(fast_path))


def followed(repository: Repository, *snapshots: Snapshot) -> References:
    return References(Blocks(repository.destination, repository.whole_index(), repository.keys)).follow(snapshots)


def referred(repository: Repository, snapshot: Snapshot) -> set[bytes]:
    """The chunks of all lists and contents, found the slow way."""
    blocks = Blocks(repository.destination, repository.whole_index(), repository.keys)
    lists, found = Lists(blocks), set[bytes]()

    def walk(level: int, content: bytes) -> Iterator[bytes]:
        for at in range(0, len(content), NAME):
            name = content[at : at + NAME]
            found.add(name)
            if level:
                (chunk,) = lists.chunks(name, "a list")
                yield from walk(level - 1, chunk)
            else:
                yield name

    list(walk(snapshot.level, bytes.fromhex(snapshot.content)))
    for item in repository.read(snapshot):
        list(walk(item.level, item.content))
    return found


@pytest.mark.parametrize("together", [1, 3, 1 << 10])
def test_exactly_what_a_snapshot_needs_is_marked(
    repository: Repository, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "_NODES_TOGETHER", together * NAME)
    chance = random.Random(1)
    files: dict[bytes, File | bytes] = {b"%04d" % at: chance.randbytes(30) for at in range(1500)}
    files |= {b"long-%d" % at: File(chance.randbytes(MIB), cut="c1") for at in range(4)}
    first = save(repository, files, 0)
    assert max(item.level for item in repository.read(first)) > 1, "lists of lists"
    files |= {b"%04d" % at: chance.randbytes(30) for at in range(0, 1500, 40)}
    second = save(repository, files, 1)
    index = repository.whole_index()
    assert len(index) > 2000
    for snapshots in ([first], [second], [first, second]):
        found = followed(repository, *snapshots)
        assert not found.findings
        names = index.names(found.used.nonzero()[0])
        marked = {names[at : at + NAME] for at in range(0, len(names), NAME)}
        assert marked == set[bytes]().union(*(referred(repository, each) for each in snapshots))
    assert not followed(repository, first).used.all(), "the second night has chunks of its own"


def test_a_list_that_is_cut_short_is_told(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = save(repository, {b"a": b"a", b"b": b"b"}, 0)
    monkeypatch.setattr(records, "contents", lambda _: [(0, b"x" * (NAME + 1)), (1, b"y")])
    assert followed(repository, snapshot).findings == {snapshot.id: ["a list of chunks in it is cut short"] * 2}

"""What a capture keeps of each item, what it reads again, and what it says of those that it could not keep."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.errors import Unavailable
from tasks.item import FOLDER, HARDLINK, SYMLINK, Item, Stored
from tasks.repository import Repository, chunker, storing
from tests.memory_source import File, MemoryCapture, contents, tree
from tests.repositories import about, create, local, packs, read_through, restored, save, stored_bytes

MIB = 1 << 20


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


TREE = tree(
    {
        b"a/empty": b"",
        b"a/one byte": b"x",
        b"a/b/c/small": b"small",
        b"a-b": b"between a and a/ in plain order",
        b"caf\xe9/\xff": b"names of any bytes",
        b"whole": noise(1, 64 << 10),
        b"just cut": noise(2, (64 << 10) + 1),
        b"medium": noise(3, 700_000),
        b"large": noise(4, 9 * MIB + 17),
        b"zeros": bytes(5 * MIB),
        b"text": b"a line of text that repeats\n" * 200_000,
        b"z/same as large": noise(4, 9 * MIB + 17),
    }
)


def test_what_was_saved_is_restored_byte_for_byte(repository: Repository) -> None:
    snapshot = save(repository, TREE, 0)
    assert restored(repository, snapshot) == contents(TREE)
    items = repository.read(snapshot)
    assert [item.entry.path for item in items] == sorted(TREE, key=lambda path: path.split(b"/"))
    for path, content in contents(TREE).items():
        assert read_through(items, path, step=777_777) == content
    assert snapshot.complete
    assert snapshot.figures["items"] == len(TREE)
    assert snapshot.figures["files"] == len(contents(TREE))
    assert snapshot.figures["content_bytes"] == sum(map(len, contents(TREE).values()))
    assert snapshot.facts == {"items": len(TREE)}
    assert repository.snapshots() == [snapshot]
    assert repository.check("content").good


def test_equal_contents_are_stored_once(repository: Repository) -> None:
    snapshot = save(repository, TREE, 0)
    distinct = sum(map(len, set(contents(TREE).values())))
    assert snapshot.figures["new_bytes"] <= distinct
    assert stored_bytes(repository.destination) < 12 * MIB, "the noise, once, and little else"


def test_zeros_are_cut_and_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they lie in an image of a disk, and in what a database has set aside for later."""
    files = {
        b"image": File(noise(2, MIB + 5) + bytes(14 * MIB) + noise(3, 99)),
        b"pages": File(bytes(6 * MIB + 7), cut="p4"),
        b"records": File(bytes(12 * MIB) + b"the end", cut="c1"),
        b"zeros": File(bytes(24 * MIB)),
    }
    looked_at, listed, cut = [0], list[list[Stored]](), chunker.Content.cut

    def counted(cutter: chunker.Content, data: memoryview, last: bool) -> list[int]:
        looked_at[-1] += len(data)
        return cut(cutter, data, last)

    monkeypatch.setattr(chunker.Content, "cut", counted)
    # How long chunks of zeros are, and so how many lengths of them are met, goes by the key: by one in 30 it is more.
    monkeypatch.setattr(chunker, "Cutting", lambda _, made=chunker.Cutting: made(1))
    for name in "once", "anew":
        repository = create(local(tmp_path / name))
        snapshot = save(repository, files, 0)
        assert restored(repository, snapshot) == {path: file.content for path, file in files.items()}
        listed.append(list(repository.read(snapshot)))
        monkeypatch.setattr(storing, "_ZEROS", b"")
        looked_at.append(0)
    once, anew = listed
    assert once == anew, "the same chunks"
    assert looked_at[0] < looked_at[1] / 3, looked_at


def test_nothing_has_a_snapshot_too(repository: Repository) -> None:
    snapshot = save(repository, {}, 0)
    assert list(repository.read(snapshot)) == []
    assert restored(repository, snapshot) == {}
    assert repository.check("content").good
    assert packs(repository) == []
    second = save(repository, {b"a": b"a"}, 1)
    third = save(repository, {}, 2)
    assert (restored(repository, second), restored(repository, third)) == ({b"a": b"a"}, {})


@pytest.mark.parametrize("at_most", [1, 4095, 65_536])
def test_a_pipe_that_gives_little_at_a_time_is_kept_alike(repository: Repository, at_most: int) -> None:
    content = noise(1, 150_000)
    first = save(repository, {b"a": content}, 0)
    second = save(repository, {b"b": File(content, at_most=at_most)}, 1)
    assert second.figures["new_bytes"] == 0
    assert restored(repository, second) == {b"b": content}
    assert first.figures["new_bytes"] == len(content)


def test_a_stream_whose_length_nobody_knew_gets_the_length_that_was_read(repository: Repository) -> None:
    dump = noise(1, 5 * MIB)
    files: dict[bytes, File | bytes] = {b"dump": File(dump, entry={"size": -1, "version": (3, 3)})}
    snapshot = save(repository, files, 0)
    (item,) = repository.read(snapshot)
    assert item.entry.size == len(dump)
    assert snapshot.complete
    assert restored(repository, snapshot) == {b"dump": dump}
    capture = MemoryCapture(files)
    repository.save(capture, about(1), repository.destination)
    assert capture.opened == []


def test_holes_are_not_stored_and_their_places_are(repository: Repository) -> None:
    data = noise(1, 8192)
    extents = ((4096, 4096), (1 << 39, 4096))
    sparse = File(data, entry={"size": 1 << 40, "extents": extents})
    hole = File(b"", entry={"size": 1 << 40, "extents": ()})
    snapshot = save(repository, {b"hole": hole, b"sparse": sparse}, 0)
    items = {item.entry.path: item.entry for item in repository.read(snapshot)}
    assert items[b"sparse"].extents == extents
    assert items[b"hole"].extents == ()
    assert items[b"sparse"].size == items[b"hole"].size == 1 << 40
    assert restored(repository, snapshot) == {b"hole": b"", b"sparse": data}
    capture = MemoryCapture({b"hole": hole, b"sparse": sparse})
    repository.save(capture, about(1), repository.destination)
    assert capture.opened == []


def test_great_attributes_and_many_extents_come_back(repository: Repository) -> None:
    value = b"v" * 60_000
    extents = tuple((at * 8192, 1) for at in range(800_000))
    files: dict[bytes, File | bytes] = {
        b"f%d" % at: File(b"x", entry={"xattrs": ((b"user.a", value),)}) for at in range(300)
    }
    files[b"sparse"] = File(bytes(800_000), entry={"size": 8192 * 800_000, "extents": extents})
    snapshot = save(repository, files, 0)
    items = {item.entry.path: item.entry for item in repository.read(snapshot)}
    assert all(items[b"f%d" % at].xattrs == ((b"user.a", value),) for at in range(300))
    assert items[b"sparse"].extents == extents
    assert repository.check("content").good


def test_what_has_no_bytes_keeps_its_entry(repository: Repository) -> None:
    files = {
        b"a": File(b"content"),
        b"b": File(entry={"type": HARDLINK, "link": b"a", "size": 7}),
        b"c": File(entry={"type": SYMLINK, "link": b"../\xff", "size": 4}),
        b"d": File(entry={"type": FOLDER, "mode": 0o1777, "xattrs": ((b"user.x", b"\0"),), "size": 0}),
    }
    snapshot = save(repository, files, 0)
    again = {item.entry.path: item.entry for item in repository.read(snapshot)}
    assert again[b"b"] == files[b"b"].listed(b"b")
    assert again[b"c"] == files[b"c"].listed(b"c")
    assert again[b"d"] == files[b"d"].listed(b"d")
    assert restored(repository, snapshot) == {b"a": b"content"}


def test_the_same_run_again_gives_the_same_snapshot_and_stores_nothing(repository: Repository) -> None:
    first = save(repository, TREE, 0)
    before = list(repository.destination.list())
    capture = MemoryCapture({b"something": b"else"})
    assert repository.save(capture, about(0), repository.destination) == first
    assert capture.opened == []
    assert list(repository.destination.list()) == before


def test_progress_never_runs_backwards_and_ends_at_the_total(repository: Repository) -> None:
    told: list[dict[str, float]] = []
    for night in range(2):
        told.clear()
        repository.save(MemoryCapture(TREE), about(night), repository.destination, progress=told.append)
        done = [each["done_bytes"] for each in told]
        assert done == sorted(done)
        assert done[-1] == sum(map(len, contents(TREE).values()))
        assert told[-1]["items"] == len(TREE)
    assert told[-1]["total_bytes"] == told[-1]["done_bytes"]


def test_a_source_is_closed_at_once_when_the_pass_fails(repository: Repository) -> None:
    """While the error is still being told of: a source may hold a server's snapshot open between two items."""
    ended: list[str] = []

    class Held(MemoryCapture):
        def __iter__(self) -> Iterator[Item]:
            try:
                yield from super().__iter__()
            finally:
                ended.append("closed")

        def stored(self, item: Stored) -> None:
            raise Unavailable("something else is gone")

    with pytest.raises(Unavailable) as raised:
        repository.save(Held({b"a": b"1", b"b": b"2"}), about(0), repository.destination)
    assert ended == ["closed"]
    assert raised.value.__traceback__ is not None

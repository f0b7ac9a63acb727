"""Restoring: each block read once, in parallel; each item whole or an error; never a wrong byte."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tasks.destinations import Destination
from tasks.errors import BackupError, Damaged, NoSpace
from tasks.item import Stored
from tasks.repository import Items, Repository, compression, extraction, reading, window
from tasks.repository.pack import NAME
from tests.faulty_destination import Faults, FaultyDestination
from tests.memory_source import File, ForgivingSink, MemorySink, contents, tree
from tests.passing_destination import Passing
from tests.repositories import create, keys, local, packs, read_through, restored, save

MIB = 1 << 20


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


FILES = tree(
    {
        **{b"small/%03d" % at: noise(at, 300) for at in range(200)},
        b"empty": b"",
        b"large": noise(1, 6 * MIB),
        b"twice": noise(1, 6 * MIB)[: 3 * MIB] * 2,
        b"zeros": bytes(3 * MIB),
        b"text": b"line after line\n" * 100_000,
    }
)
BUSY = {path: content for path, content in FILES.items() if isinstance(content, bytes)}


class Counted(Passing):
    """Notes what is read of each pack."""

    def __init__(self, inner: Destination) -> None:
        super().__init__(inner)
        self.reads: list[tuple[str, int, int]] = []

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if name.startswith("packs/"):
            assert length is not None
            self.reads.append((name, offset, length))
        return self._inner.get(name, offset, length)


def test_every_block_is_read_once(repository: Repository) -> None:
    snapshot = save(repository, FILES, 0)
    counted = Counted(repository.destination)
    assert restored(Repository.open(counted, keys().reader), snapshot) == contents(FILES)
    for pack in {name for name, _, _ in counted.reads}:
        # Two threads may both read a pack's header.
        stretches = sorted((at, at + length) for name, at, length in counted.reads if name == pack and length > 128)
        assert all(before <= after for (_, before), (after, _) in pairwise(stretches)), "nothing is read twice"


def test_neighbouring_blocks_are_read_together(repository: Repository) -> None:
    snapshot = save(repository, {b"a": noise(1, 30 * MIB)}, 0)
    counted = Counted(repository.destination)
    assert restored(Repository.open(counted, keys().reader), snapshot) == {b"a": noise(1, 30 * MIB)}
    contents_read = [length for _, _, length in counted.reads if length > MIB]
    assert max(contents_read) <= 5 * MIB, "a few at a time: memory is bounded"
    assert sum(contents_read) / len(contents_read) > 2.5 * MIB, f"{len(contents_read)} reads"


class Far(Counted):
    """Its first five reads of blocks only go on once all five were asked for."""

    def __init__(self, inner: Destination) -> None:
        super().__init__(inner)
        self._meeting, self._first = threading.Barrier(5), [1] * 5

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if (length or 0) > MIB and self._first:
            self._first.pop()
            self._meeting.wait(30)  # broken, and so an error, unless five come here together
        return super().get(name, offset, length)


def test_several_ranges_are_on_their_way_at_once(repository: Repository) -> None:
    """Or a destination that is far away is as slow as it is far."""
    snapshot = save(repository, {b"a": noise(1, 30 * MIB)}, 0)
    far = Repository.open(Far(repository.destination), keys().reader)
    assert restored(far, snapshot) == {b"a": noise(1, 30 * MIB)}


def test_a_stream_is_read_ahead_and_may_be_left_halfway(repository: Repository) -> None:
    snapshot = save(repository, {b"a": noise(1, 30 * MIB)}, 0)
    items = Repository.open(Far(repository.destination), keys().reader).read(snapshot)
    (item,) = items
    stream, buffer = items.open(item), bytearray(5 * MIB)
    assert stream.readinto(memoryview(buffer)) > 0
    stream.close()
    assert read_through(items, b"a") == noise(1, 30 * MIB)


def test_a_stream_of_old_and_new_chunks_in_turn_reads_each_block_once(repository: Repository) -> None:
    chance = random.Random(8)
    content = bytearray(chance.randbytes(3 * MIB))
    save(repository, {b"a": File(bytes(content), cut="p4")}, 0)
    for at in range(0, len(content), 12288):
        content[at : at + 8] = b"changed!"
    second = save(repository, {b"a": File(bytes(content), cut="p4", entry={"version": (2, 2)})}, 1)
    counted = Counted(repository.destination)
    opened = Repository.open(counted, keys().reader)
    assert read_through(opened.read(second), b"a") == content
    blocks_read = [read for read in counted.reads if read[2] > 128 << 10]
    assert len(blocks_read) == len(set(blocks_read)) >= 2


def test_a_window_that_overflows_restores_the_same(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = save(repository, FILES, 0)
    for most in (1, 2, 7, 100):
        monkeypatch.setattr(window, "MOST", most)
        monkeypatch.setattr(window, "MOST_ITEMS", 3 * most)
        assert restored(repository, snapshot) == contents(FILES)


def test_some_items_in_any_order_are_restored_and_no_others_read(repository: Repository) -> None:
    snapshot = save(repository, FILES, 0)
    counted = Counted(repository.destination)
    items = Repository.open(counted, keys().reader).read(snapshot)
    listed = [item for item in items if item.entry.path in (b"text", b"small/007", b"empty")]
    counted.reads.clear()
    sink = MemorySink()
    items.extract(reversed(listed), sink)
    assert sink.contents == {path: BUSY[path] for path in (b"text", b"small/007", b"empty")}
    read = len(counted.reads)
    assert read <= 2 * len(packs(repository)) + 4, "a header a pack, and a block or two"


def test_the_same_item_may_be_restored_twice_at_once(repository: Repository) -> None:
    snapshot = save(repository, {b"a": BUSY[b"large"]}, 0)
    items = repository.read(snapshot)
    (item,) = items
    first, second = MemorySink(), MemorySink()

    class Both:
        def write(self, item: Stored, offset: int, data: memoryview) -> None:
            first.write(item, offset, data)

        def complete(self, item: Stored) -> None:
            first.complete(item)

    items.extract([item], Both())
    items.extract([item], second)
    assert first.contents == second.contents == {b"a": BUSY[b"large"]}


def test_a_file_without_bytes_is_given_at_once(repository: Repository) -> None:
    """Or a folder writes it under another name first, which takes twice the time: 40,000 of them took longer than by
    restic or Borg."""
    given = []

    class AtOnce(MemorySink):
        def whole(self, item: Stored, data: memoryview) -> None:
            given.append((item.entry.path, bytes(data)))

        def complete(self, item: Stored) -> None:
            raise AssertionError(f"{item.entry.path!r} is in one block")

    files = tree({b"empty": b"", b"last": b"", b"small": b"1"})
    items = repository.read(save(repository, files, 0))
    items.extract(items, AtOnce())
    assert sorted(given) == [(b"empty", b""), (b"last", b""), (b"small", b"1")]


@pytest.mark.parametrize("step", [1000, 65_536, 3 * MIB, 20 * MIB])
def test_a_stream_gives_the_bytes_in_order_whatever_the_buffer(repository: Repository, step: int) -> None:
    snapshot = save(repository, FILES, 0)
    items = repository.read(snapshot)
    for path in (b"empty", b"large", b"twice", b"small/000"):
        assert read_through(items, path, step) == BUSY[path]


def test_an_error_of_the_sink_ends_the_restore(repository: Repository) -> None:
    snapshot = save(repository, FILES, 0)

    class Full(MemorySink):
        def write(self, item: Stored, offset: int, data: memoryview) -> None:
            raise NoSpace("no room")

    items = repository.read(snapshot)
    with pytest.raises(NoSpace):
        items.extract(items, Full())


@pytest.mark.parametrize("seed", range(30))
def test_a_destination_that_gives_wrong_bytes_never_restores_one(fast_path: Path, seed: int) -> None:
    snapshot = save(create(local(fast_path)), FILES, 0)
    faulty = FaultyDestination(local(fast_path), seed, Faults(flipped=0.2, cut=0.1))
    try:
        repository = Repository.open(faulty, keys().reader)
        items, sink = repository.read(repository.snapshot(snapshot.id)), MemorySink()
        items.extract(items, sink)
    except BackupError:
        return
    assert sink.contents == contents(FILES)


@pytest.mark.parametrize("seed", range(10))
def test_a_check_over_such_a_destination_is_an_error_or_names_damage_or_saw_none(fast_path: Path, seed: int) -> None:
    """Packs are read again, and what is stored here is sound."""
    save(create(local(fast_path)), FILES, 0)
    faulty = FaultyDestination(local(fast_path), seed, Faults(flipped=0.1, cut=0.1))
    try:
        report = Repository.open(faulty, keys().reader).check("content")
    except BackupError:
        return
    if any(fault.name.startswith(("index/", "snapshots/")) for fault in faulty.happened):
        assert not report.good
    elif not faulty.happened:
        assert report.good


@pytest.mark.parametrize("handed_back", [0, 2])
@pytest.mark.parametrize("path", [b"large", b"small/000"])
def test_a_block_that_decodes_to_other_bytes_is_damage_whoever_verifies_it(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, path: bytes, handed_back: int
) -> None:
    monkeypatch.setattr(extraction, "_HANDED_BACK", handed_back)
    snapshot = save(repository, FILES, 0)
    decode = compression.decode

    def one_bit_wrong(method: int, data: bytes | memoryview, size: int) -> memoryview:
        wrong = bytearray(decode(method, data, size))
        wrong[100] ^= 1
        return memoryview(wrong)

    items = repository.read(snapshot)
    chosen = [item for item in items if item.entry.path == path]
    items.extract(chosen, MemorySink())
    monkeypatch.setattr(compression, "decode", one_bit_wrong)
    with pytest.raises(Damaged, match="not what was stored"):
        items.extract(chosen, MemorySink())


def test_blocks_are_finished_by_the_calling_thread_and_while_it_is_busy_by_others(repository: Repository) -> None:
    snapshot = save(repository, {b"a": noise(1, 40 * MIB)}, 0)
    caller, other = threading.get_ident(), threading.Event()
    wrote = set[bool]()

    class Busy(MemorySink):
        def write(self, item: Stored, offset: int, data: memoryview) -> None:
            by_caller = threading.get_ident() == caller
            wrote.add(by_caller)
            if not by_caller:
                other.set()
            elif not other.wait(30):
                raise AssertionError("all waits for one thread")
            super().write(item, offset, data)

    items, sink = repository.read(snapshot), Busy()
    items.extract(items, sink)
    assert sink.contents == {b"a": noise(1, 40 * MIB)}
    assert wrote == {True, False}


def test_a_chunk_that_is_not_indexed_is_named_with_its_item(repository: Repository) -> None:
    snapshot = save(repository, {b"odd \xff name": BUSY[b"text"]}, 0)
    items = repository.read(snapshot)
    (item,) = items
    alien = item._replace(content=bytes(16), level=0)
    with pytest.raises(Damaged, match="odd"):
        items.extract([alien], MemorySink())
    with pytest.raises(Damaged, match="odd"):
        items.open(alien).readinto(memoryview(bytearray(9)))


@pytest.mark.parametrize("size", [0, 5, 1_599_999, 1_600_001])
def test_an_item_whose_chunks_are_not_its_size_is_damaged(repository: Repository, size: int) -> None:
    snapshot = save(repository, {b"a": BUSY[b"text"]}, 0)
    items = repository.read(snapshot)
    (item,) = items
    lying = item._replace(entry=item.entry._replace(size=size))
    with pytest.raises(Damaged):
        items.extract([lying], MemorySink())
    stream, buffer = items.open(lying), memoryview(bytearray(4 * MIB))
    with pytest.raises(Damaged):
        list(iter(lambda: stream.readinto(buffer), 0))


def _chunk_missing(item: Stored) -> Stored:
    return item._replace(content=item.content[:-NAME] + bytes(NAME))


def _list_cut_short(item: Stored) -> Stored:
    return item._replace(content=item.content[:-1])


def _longer(item: Stored) -> Stored:
    return item._replace(entry=item.entry._replace(size=item.entry.size + 1))


def _shorter(item: Stored) -> Stored:
    return item._replace(entry=item.entry._replace(size=item.entry.size - 1))


@pytest.mark.parametrize("most", [1, 7, 1 << 14])
@pytest.mark.parametrize("harm", [_chunk_missing, _list_cut_short, _longer, _shorter])
def test_what_is_missing_of_one_item_costs_a_sink_that_forgives_no_other(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Stored], Stored], most: int
) -> None:
    monkeypatch.setattr(window, "MOST", most)
    monkeypatch.setattr(window, "MOST_ITEMS", 3 * most)
    huge = noise(11, 60 * MIB)
    files = FILES | {b"huge": huge, b"huge too": huge[MIB:]}
    items = repository.read(save(repository, files, 0))
    chosen = {b"small/003", b"large", b"huge", b"text"}
    levels = {item.level for item in items if item.entry.path in chosen}
    assert levels == {0, 1}, "some have their chunks in their record, some in a list"
    sink = ForgivingSink()
    items.extract((harm(item) if item.entry.path in chosen else item for item in items), sink)
    assert set(sink.missing) == chosen
    assert all(path.decode() in why for path, why in sink.missing.items())
    assert sink.contents == {path: data for path, data in contents(files).items() if path not in chosen}


@pytest.mark.parametrize("most", [1, 7, 1 << 14])
def test_a_chunk_in_the_middle_of_a_large_item_costs_no_other(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Some of its bytes are written before it is known, and none after it is."""
    monkeypatch.setattr(window, "MOST", most)
    huge = noise(11, 60 * MIB)
    files = {b"a": b"before", b"huge": huge, b"z": b"behind", b"zz": huge}
    items = repository.read(save(repository, files, 0))
    (item,) = (item for item in items if item.entry.path == b"huge")
    names = bytearray(b"".join(items.lists(item.level, item.content, "huge")))
    middle = len(names) // NAME // 2 * NAME
    names[middle : middle + NAME] = bytes(NAME)
    harmed = item._replace(level=0, content=bytes(names))
    sink = ForgivingSink()
    items.extract((harmed if each == item else each for each in items), sink)
    assert list(sink.missing) == [b"huge"]
    assert sink.contents == {path: data for path, data in files.items() if path != b"huge"}


def test_what_two_lists_have_in_common_is_not_read_to_tell_them_apart(repository: Repository) -> None:
    files = {b"many/%05d" % at: b"%d" % at for at in range(5000)}
    first = repository.read(save(repository, files, 0))
    second = repository.read(save(repository, {**files, b"many/02500": b"changed"}, 1))
    gone, come = map(list, first.apart(second))
    assert len(gone) < 600
    assert len(come) < 600
    changed = {item.entry.path for item in come if item not in gone}
    assert changed == {b"many/02500"}
    assert [*first.apart(first)[0], *first.apart(first)[1]] == []


def test_a_list_that_is_out_of_order_is_damage_and_comes_to_an_end(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer's key is enough to put nodes there that name the same a thousand times, 16 levels deep."""
    snapshot = save(repository, {b"many/%05d" % at: b"" for at in range(20_000)}, 0)
    assert snapshot.level
    seen = list[bytes]()
    with pytest.raises(Damaged, match="not in order"):
        seen.extend(item.entry.path for item in repository.read(replace(snapshot, content=snapshot.content * 2)))
    assert seen == [b"many/%05d" % at for at in range(20_000)]
    monkeypatch.setattr(reading, "_SURELY_HELD", 1000)
    forged = replace(snapshot, content=snapshot.content * 1000)
    asked: list[Callable[[Items], object]] = [
        lambda items: list(items.below([b"many/00100"])),
        lambda items: list(items.since(b"many/00100")),
        lambda items: [*map(list, items.apart(items))],
    ]
    for ask in asked:
        with pytest.raises(Damaged, match="not in order"):
            ask(repository.read(forged))
        ask(repository.read(snapshot))

"""Items come back as they were kept, and a change to one of them changes little of what is stored of the others."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator

import msgpack
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import BackupError, NewerFormat
from tasks.item import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    FIFO,
    FILE,
    FOLDER,
    HARDLINK,
    SOCKET,
    SYMLINK,
    Entry,
    Stored,
)
from tasks.repository import records
from tasks.repository.pack import NAME
from tasks.repository.records import FINE_NODES, NODES, Grouper, NameList, Nodes, names_in

PATHS = st.lists(
    st.binary(min_size=1, max_size=12).filter(lambda part: b"\0" not in part and b"/" not in part),
    min_size=1,
    max_size=4,
).map(b"/".join)
U64 = st.integers(0, (1 << 64) - 1)
ENTRIES = st.builds(
    Entry,
    path=PATHS,
    type=st.sampled_from([FILE, FOLDER, SYMLINK, HARDLINK, FIFO, SOCKET, CHARACTER_DEVICE, BLOCK_DEVICE]),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, (1 << 32) - 1),
    gid=st.integers(0, (1 << 32) - 1),
    user=st.text(max_size=8),
    group=st.text(max_size=8),
    mtime_ns=st.integers(-(1 << 63), (1 << 63) - 1),
    size=st.integers(0, (1 << 63) - 1),
    version=st.tuples(st.integers(-(1 << 63), (1 << 63) - 1), U64),
    link=st.binary(max_size=20),
    device=U64,
    xattrs=st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.binary(max_size=20)), max_size=3).map(tuple),
    extents=st.none() | st.lists(st.tuples(st.integers(0, 1 << 62), st.integers(1, 1 << 62)), max_size=3).map(tuple),
    cut=st.sampled_from(["", "w", "c64", "p16"]),
    digest=st.just(b"") | st.binary(min_size=16, max_size=16),
)
COLUMNS = st.just(()) | st.lists(st.integers(0, (1 << 62) - 1), min_size=4, max_size=6).map(tuple)
STORED = st.builds(Stored, ENTRIES, st.integers(0, 9), st.binary(max_size=64), COLUMNS)

EXTREMES = {
    "before 1970": Entry(b"a", FILE, mtime_ns=-86_400 * 10**9 * 365 * 60 - 1),
    "the year 2200": Entry(b"a", FILE, mtime_ns=7_258_118_400 * 10**9 + 999_999_999),
    "a 64-bit inode": Entry(b"a", FILE, version=(1_800_000_000 * 10**9, (1 << 64) - 1)),
    "a path of any bytes": Entry(bytes(set(range(1, 256)) - {ord("/")}), FILE),
    "a name that is not UTF-8": Entry(b"caf\xe9/\xff\xfe", FILE),
    "a name with a newline": Entry(b"two\nlines", FILE),
    "a long path": Entry(b"/".join([b"x" * 255] * 16), FILE),
    "all holes": Entry(b"a", FILE, size=1 << 40, extents=()),
    "holes": Entry(b"a", FILE, size=1 << 40, extents=((4096, 4096), (1 << 39, 1))),
    "attributes": Entry(b"a", FILE, xattrs=((b"user.a", b""), (b"system.posix_acl_access", bytes(range(256)) * 256))),
    "a link to nowhere": Entry(b"a", SYMLINK, link=b"../../../\xff"),
    "a device": Entry(b"a", BLOCK_DEVICE, device=(1 << 64) - 1),
    "setuid": Entry(b"a", FILE, 0o7777, (1 << 32) - 2, (1 << 32) - 2, "nobody", "nögroup"),
    "a digest": Entry(b"a", FILE, digest=bytes(16)),
    "the last moment of XFS": Entry(b"a", FILE, mtime_ns=16_299_260_425 * 10**9, version=(16_299_260_425 * 10**9, 1)),
    "an owner whose name is not UTF-8": Entry(b"a", FILE, user="caf\udce9", group="\udcff"),
    "the greatest file": Entry(b"a", FILE, size=(1 << 63) - 1),
}


@pytest.mark.parametrize("entry", EXTREMES.values(), ids=EXTREMES)
def test_extremes_come_back(entry: Entry) -> None:
    assert list(records.decode(records.encode(Stored(entry, 3, b"x" * NAME)))) == [Stored(entry, 3, b"x" * NAME)]


@given(st.lists(STORED, max_size=8))
def test_every_field_of_every_record_comes_back(items: list[Stored]) -> None:
    group = b"".join(map(records.encode, items))
    assert list(records.decode(group)) == items
    assert list(records.decode(memoryview(group))) == items
    assert list(records.contents(memoryview(group))) == [(item.level, item.content) for item in items]
    for again, item in zip(records.decode(group), items, strict=True):
        assert [type(value) for value in again.entry] == [type(value) for value in item.entry]


@pytest.mark.parametrize("rare", [{"T": [2, 100, 10, 4, 6]}, {"Z": b"", "l": b"x"}])
def test_what_is_stored_in_a_way_of_the_future_is_refused_and_never_misread(rare: dict[str, object]) -> None:
    fields = list(msgpack.unpackb(records.encode(Stored(Entry(b"a/later", FILE), 0, b"x" * NAME))))
    fields[-1] = rare
    with pytest.raises(NewerFormat, match="later"):
        list(records.decode(msgpack.packb(fields)))
    with pytest.raises(NewerFormat, match="later"):
        list(records.contents(msgpack.packb(fields)))


def test_a_later_key_that_is_of_no_weight_does_not_disturb() -> None:
    fields = list(msgpack.unpackb(records.encode(Stored(Entry(b"a", FILE, digest=bytes(16)), 0, b"x" * NAME))))
    fields[-1]["q"] = b"something"
    (item,) = records.decode(msgpack.packb(fields))
    assert item.entry.digest == bytes(16)


def test_a_digest_of_an_earlier_build_counts_as_none_so_that_its_file_is_read_again() -> None:
    encoded = records.encode(Stored(Entry(b"a", FILE, digest=bytes(32), link=b"l"), 0, b"x" * NAME))
    (item,) = records.decode(encoded)
    assert (item.entry.digest, item.entry.link) == (b"", b"l")
    (item,) = records.decode(records.encode(Stored(Entry(b"a", FILE, digest=bytes(32)), 0, b"x" * NAME)))
    assert item == Stored(Entry(b"a", FILE), 0, b"x" * NAME)


@pytest.mark.parametrize("change", [lambda fields: fields.pop(), lambda fields: fields.append(1)])
@pytest.mark.parametrize("read", [records.decode, records.contents])
def test_a_record_of_another_length_is_none(
    read: Callable[[bytes], Iterator[object]], change: Callable[[list[object]], object]
) -> None:
    fields = list(msgpack.unpackb(records.encode(Stored(Entry(b"a", FILE), 0, b"x" * NAME))))
    change(fields)
    with pytest.raises(ValueError, match=r"records|unpack"):
        list(read(msgpack.packb(fields)))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [(0, "text"), (12, -1), (12, 17), (12, 1 << 40), (12, 1.0), (12, "x"), (13, "x" * NAME), (13, 5)]
    + [(14, {key: wrong}) for key, wrong in (("l", 5), ("d", "x"), ("x", 5), ("x", [[1, b""]]), ("e", [[0]]))],
)
@pytest.mark.parametrize("read", [records.decode, records.contents])
def test_a_record_that_would_trip_who_reads_it_is_none(
    read: Callable[[bytes], Iterator[object]], field: int, wrong: object
) -> None:
    """A level of millions would keep a verify and a prune at it for ever."""
    fields = list(msgpack.unpackb(records.encode(Stored(Entry(b"a", FILE), 0, b"x" * NAME))))
    fields[field] = wrong
    with pytest.raises(ValueError, match="no records"):
        list(read(msgpack.packb(fields)))


@pytest.mark.parametrize("read", [records.decode, records.contents])
def test_a_group_that_would_fill_the_memory_is_none(read: Callable[[bytes], Iterator[object]]) -> None:
    """Compressed, these are some hundred bytes, and read they were gigabytes."""
    fields = list(msgpack.unpackb(records.encode(Stored(Entry(b"a", FILE), 0, b"x" * NAME))))
    fields[14] = {"later": [{}] * (3 << 20)}
    with pytest.raises(ValueError, match="no records"):
        list(read(msgpack.packb(fields)))
    fields[14] = {"later": bytes(34 << 20)}
    with pytest.raises(ValueError, match="no records"):
        list(read(msgpack.packb(fields)))


def test_a_long_group_of_records_that_have_maps_comes_back() -> None:
    item = Stored(Entry(b"a", FILE, extents=((0, 1),) * 10), 0, b"x" * NAME)
    great = item._replace(entry=item.entry._replace(extents=tuple((at << 20, 1) for at in range(400_000))))
    items = [*[item] * 511, great]
    assert list(records.decode(b"".join(map(records.encode, items)))) == items


@pytest.mark.parametrize("read", [records.decode, records.contents])
@given(data=st.binary(min_size=1, max_size=60))
def test_what_is_no_group_is_never_taken_for_one(read: Callable[[bytes], Iterator[object]], data: bytes) -> None:
    try:
        found = list(read(data))
    except ValueError:
        return
    # Only a cut-off record at the end can look like a shorter group: its chunk's name tells.
    assert found == []


class Kept:
    """Chunks by name, as a repository keeps them."""

    def __init__(self) -> None:
        self.chunks: dict[bytes, bytes] = {}

    def __call__(self, data: bytes) -> bytes:
        name = blake3(data).digest(NAME)
        self.chunks[name] = data
        return name

    def flattened(self, level: int, content: bytes) -> Iterator[bytes]:
        for name in names_in(content):
            if level:
                yield from self.flattened(level - 1, self.chunks[name])
            else:
                yield name


def grouped(items: list[Stored]) -> tuple[Kept, int, bytes]:
    kept = Kept()
    grouper = Grouper(kept)
    for item in items:
        grouper.add(item)
    return kept, *grouper.finish()


def items_of(kept: Kept, level: int, content: bytes) -> list[Stored]:
    return [item for name in kept.flattened(level, content) for item in records.decode(kept.chunks[name])]


def many(count: int, size: int = 1) -> list[Stored]:
    paths = (b"folder-%02d/sub-%d/file-%d" % (at % 37, at % 5, at) for at in range(count))
    ordered = sorted(paths, key=lambda path: path.split(b"/"))
    return [Stored(Entry(path, FILE, size=size), 0, path[-4:].rjust(NAME, b"x")) for path in ordered]


def test_great_attributes_make_no_great_groups() -> None:
    """A group is one chunk, and what reads it back must not be made to take any amount of memory."""
    never = [path for at in range(900) if zlib.crc32(path := b"f%d" % at) & 7][:300]
    value = b"v" * 60_000
    items = [Stored(Entry(path, FILE, xattrs=((b"user.a", value),))) for path in never]
    kept, level, content = grouped(items)
    assert items_of(kept, level, content) == items
    assert max(map(len, kept.chunks.values())) < (1 << 20) + 70_000


def test_a_record_that_could_not_be_read_back_is_not_stored() -> None:
    huge = Stored(Entry(b"a", FILE, xattrs=tuple((b"user.%d" % at, bytes(65_536)) for at in range(600))))
    with pytest.raises(BackupError, match="attributes"):
        Grouper(Kept()).add(huge)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 511, 512, 5000, 60_000])
def test_an_item_list_comes_back_whole_and_in_order(count: int) -> None:
    items = many(count)
    kept, level, content = grouped(items)
    assert items_of(kept, level, content) == items
    if count == 60_000:
        assert level >= 1, "so many groups have a level of nodes above them"
        assert len(content) < 64 << 10


@pytest.mark.parametrize("where", [0, 7_000, 19_999])
@pytest.mark.parametrize("what", ["changed", "added", "removed"])
def test_one_change_makes_few_new_chunks(where: int, what: str) -> None:
    items = many(20_000)
    before, _, _ = grouped(items)
    if what == "changed":
        items[where] = Stored(items[where].entry._replace(size=5), 0, b"y" * NAME)
    elif what == "added":
        items.insert(where + 1, Stored(Entry(items[where].entry.path + b"-more", FILE)))
    else:
        del items[where]
    after, level, content = grouped(items)
    assert items_of(after, level, content) == items
    new = set(after.chunks) - set(before.chunks)
    assert len(new) <= 2 + 2 * level, "a group, a node a level, and at most one neighbour of each"
    assert sum(len(after.chunks[name]) for name in new) < 0.05 * sum(map(len, after.chunks.values()))


def test_groups_end_where_the_paths_say_so_and_are_never_too_long() -> None:
    never = [path for at in range(20_000) if zlib.crc32(path := b"f%d" % at) & 7][:3000]
    kept, level, content = grouped([Stored(Entry(path, FILE)) for path in never])
    sizes = [len(list(records.decode(kept.chunks[name]))) for name in kept.flattened(level, content)]
    assert max(sizes) == 512
    usual, level, content = grouped(many(20_000))
    sizes = [len(list(records.decode(usual.chunks[name]))) for name in usual.flattened(level, content)]
    assert min(sizes[:-1]) == 8
    assert 12 < sum(sizes) / len(sizes) < 20
    # In the group of an item that has changed there are hardly more than in any.
    assert sum(size * size for size in sizes) / sum(sizes) < 22


def listed(names: list[bytes]) -> tuple[Kept, int, bytes]:
    kept = Kept()
    making = NameList(kept)
    for name in names:
        making.add(name)
    return kept, *making.finish()


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1023, 1024, 1025, 5000, 100_000])
def test_a_list_of_names_comes_back_in_order(count: int) -> None:
    names = [random.Random(at).randbytes(NAME) for at in range(count)]
    kept, level, content = listed(names)
    assert list(kept.flattened(level, content)) == names
    assert all(len(node) <= 1024 * NAME for node in kept.chunks.values())
    if count == 100_000:
        assert level > 1
        assert len(content) <= 1024 * NAME


def test_the_same_name_again_and_again_still_makes_a_short_list() -> None:
    for last in (0, 1):
        names = [bytes(15) + bytes([last])] * 300_000
        kept, level, content = listed(names)
        assert list(kept.flattened(level, content)) == names
        assert len(content) <= 1024 * NAME
        assert len(kept.chunks) < 100, "equal nodes are one"


def test_a_growing_list_keeps_its_nodes() -> None:
    names = [random.Random(at).randbytes(NAME) for at in range(30_000)]
    before, _, _ = listed(names)
    after, _, _ = listed([*names, *(random.Random(-at).randbytes(NAME) for at in range(1, 100))])
    assert len(set(after.chunks) - set(before.chunks)) < 8


@given(
    st.lists(st.sampled_from([bytes(16), b"\1" * 16, b"\x40" * 16, b"\x41" * 16]), max_size=3000), st.integers(0, 2500)
)
def test_any_list_of_names_comes_back(names: list[bytes], repeated: int) -> None:
    names = names + [bytes(16)] * repeated
    kept, level, content = listed(names)
    assert list(kept.flattened(level, content)) == names


@pytest.mark.parametrize("nodes", [NODES, FINE_NODES], ids=["usual", "fine"])
@given(
    sizes=st.lists(st.integers(0, 3000), max_size=6),
    seed=st.integers(0, 1 << 30),
    masks=st.lists(st.sampled_from([0x00, 0x3F, 0xFF]), min_size=1, max_size=6),
)
def test_many_names_at_once_make_the_nodes_of_one_by_one(
    nodes: Nodes, sizes: list[int], seed: int, masks: list[int]
) -> None:
    chance, kept = random.Random(seed), {False: list[bytes](), True: list[bytes]()}

    def keeper(at_once: bool) -> NameList:
        def keep(node: bytes) -> bytes:
            kept[at_once].append(node)
            return blake3(node).digest(NAME)

        return NameList(keep, nodes)

    single, at_once = keeper(False), keeper(True)
    for at, size in enumerate(sizes):
        # Last bytes that never end a node, that all do, and that do now and then.
        mask = masks[at % len(masks)]
        never = int(mask == 0)
        names = [chance.randbytes(NAME - 1) + bytes([chance.randrange(256) & mask | never]) for _ in range(size)]
        for name in names:
            single.add(name)
        at_once.extend(b"".join(names))
    assert at_once.finish() == single.finish()
    assert kept[True] == kept[False]

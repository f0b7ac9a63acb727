"""What a capture keeps of each item, what it reads again, and what it says of those that it could not keep."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import count

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import BackupError
from tasks.item import FOLDER, HARDLINK, SYMLINK, Flaw, Unreadable, Vanished
from tasks.repository import Repository
from tests.memory_source import File, MemoryCapture, contents, tree
from tests.repositories import about, packs, read_through, restored, save, stored_bytes

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


def test_nothing_has_a_snapshot_too(repository: Repository) -> None:
    snapshot = save(repository, {}, 0)
    assert list(repository.read(snapshot)) == []
    assert restored(repository, snapshot) == {}
    assert repository.check("content").good
    assert packs(repository) == []
    second = save(repository, {b"a": b"a"}, 1)
    third = save(repository, {}, 2)
    assert (restored(repository, second), restored(repository, third)) == ({b"a": b"a"}, {})


def test_unchanged_items_are_not_opened(repository: Repository) -> None:
    save(repository, TREE, 0)
    before = stored_bytes(repository.destination)
    changed = {**TREE, b"a/one byte": b"y", b"new": b"new"}
    capture = MemoryCapture(changed)
    snapshot = repository.save(capture, about(1), repository.destination)
    assert sorted(capture.opened) == [b"a/one byte", b"new"]
    assert snapshot.figures["unchanged"] == len(contents(TREE)) - 1
    assert snapshot.figures["read_bytes"] == 4
    assert snapshot.figures["content_bytes"] == sum(map(len, contents(changed).values()))
    assert stored_bytes(repository.destination) - before < 8 << 10
    assert restored(repository, snapshot) == contents(changed)


@pytest.mark.parametrize(
    "entry",
    [
        {"mtime_ns": 5},
        {"version": (7, 7)},
        {"version": (0, 0)},
        {"type": SYMLINK, "link": b"elsewhere"},
    ],
)
def test_any_sign_of_change_makes_an_item_read_again(repository: Repository, entry: dict[str, object]) -> None:
    save(repository, {b"a": File(b"abc"), b"b": b"b"}, 0)
    capture = MemoryCapture({b"a": File(b"abc", entry=entry), b"b": b"b"})
    snapshot = repository.save(capture, about(1), repository.destination)
    (item,) = (item for item in repository.read(snapshot) if item.entry.path == b"a")
    assert capture.opened == ([] if "type" in entry else [b"a"])
    for name, value in entry.items():
        assert getattr(item.entry, name) == value


def test_an_item_without_a_version_is_always_read(repository: Repository) -> None:
    files: dict[bytes, File | bytes] = {b"a": File(b"abc", entry={"version": (0, 5)})}
    for night in range(3):
        capture = MemoryCapture(files)
        repository.save(capture, about(night), repository.destination)
        assert capture.opened == [b"a"]


def test_an_item_whose_chunks_were_lost_from_the_index_is_read_again(repository: Repository) -> None:
    files = {b"a": noise(1, 300_000), b"b": noise(2, 9 * MIB), b"c": b"c"}
    first = save(repository, {path: files[path] for path in (b"b", b"c")}, 0)
    (lost,) = repository.index_names()
    save(repository, files, 1)
    repository.destination.delete(lost)
    capture = MemoryCapture(files)
    snapshot = repository.save(capture, about(2), repository.destination)
    assert sorted(capture.opened) == [b"b", b"c"]
    assert restored(repository, snapshot) == files
    (lost_too,) = {each.name for each in repository.check("content").damage}
    assert lost_too == f"snapshots/{first.id}", "its item list was lost, and nothing has made that again"


def test_without_its_whole_index_everything_is_read_again(repository: Repository) -> None:
    save(repository, TREE, 0)
    for name in list(repository.index_names()):
        repository.destination.delete(name)
    capture = MemoryCapture(TREE)
    snapshot = repository.save(capture, about(1), repository.destination)
    assert sorted(capture.opened) == sorted(contents(TREE))
    assert restored(repository, snapshot) == contents(TREE)


def test_a_digest_is_that_of_the_stream_and_is_made_good_when_it_is_wanted_later(repository: Repository) -> None:
    plain = {path: content for path, content in contents(TREE).items()}
    save(repository, plain, 0)
    wanting = {path: File(content, want_digest=True) for path, content in plain.items()}
    for night in (1, 2):
        capture = MemoryCapture(wanting)
        repository.save(capture, about(night), repository.destination)
        assert {item.entry.path: item.entry.digest for item in capture.kept} == {
            path: blake3(content).digest() for path, content in plain.items()
        }
        assert len(capture.opened) == (len(plain) if night == 1 else 0)


def test_a_growing_file_keeps_its_cut_and_costs_what_it_grew(repository: Repository) -> None:
    log = noise(1, 3 * MIB)
    snapshots = [save(repository, {b"log": log[: 2 * MIB]}, 0)]
    # A hint that came later, and a size that would be cut otherwise, change nothing.
    snapshots.append(save(repository, {b"log": File(log, cut="p4")}, 1))
    cuts = [item.entry.cut for snapshot in snapshots for item in repository.read(snapshot)]
    assert cuts == ["c64", "c64"]
    assert snapshots[1].figures["new_bytes"] < 1.4 * MIB
    assert restored(repository, snapshots[1]) == {b"log": log}


def test_a_hint_and_a_page_file_are_cut_by_pages(repository: Repository) -> None:
    database = b"SQLite format 3\0" + noise(1, 4 * MIB - 16)
    snapshot = save(repository, {b"database": database, b"pages": File(noise(2, MIB), cut="p4")}, 0)
    assert [item.entry.cut for item in repository.read(snapshot)] == ["p16", "p4"]
    changed = bytearray(database)
    for at in range(5):
        changed[at * 800_000 + 5000] ^= 1
    second = save(repository, {b"database": bytes(changed), b"pages": File(noise(2, MIB), cut="p4")}, 1)
    assert second.figures["new_bytes"] == 5 * (16 << 10)
    assert restored(repository, second)[b"database"] == changed


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


@pytest.mark.parametrize("size", [10, 100_000, 6 * MIB])
@pytest.mark.parametrize("way", ["shrank", "grew"])
def test_a_file_of_another_length_than_listed_is_partial_and_read_again(
    repository: Repository, size: int, way: str
) -> None:
    content = noise(1, size)
    listed = size + 5 if way == "shrank" else size - 5
    files = {b"a": File(content, entry={"size": listed, "version": (3, 3)}), b"b": b"b"}
    snapshot = save(repository, files, 0)
    assert [(flaw.path, flaw.what) for flaw in snapshot.flaws] == [("a", "partial")]
    assert not snapshot.complete
    assert snapshot.figures["flaws"] == 1
    assert restored(repository, snapshot) == {b"a": content, b"b": b"b"}
    assert repository.check("content").good
    capture = MemoryCapture(files)
    repository.save(capture, about(1), repository.destination)
    assert capture.opened == [b"a"]


def test_a_stream_that_says_it_is_flawed_is_read_again_next_time(repository: Repository) -> None:
    """Also where it forgot to say so in its version: a snapshot must not inherit a flaw in silence."""
    files = {b"a": File(b"torn", flaw="partial")}
    snapshot = save(repository, files, 0)
    assert [flaw.what for flaw in snapshot.flaws] == ["partial"]
    capture = MemoryCapture(files)
    second = repository.save(capture, about(1), repository.destination)
    assert capture.opened == [b"a"]
    assert not second.complete


FAILURES = [
    (File(b"a" * 99, refuses=Vanished("gone")), "vanished"),
    (File(b"a" * 99, refuses=Unreadable("permission denied")), "unreadable"),
    (File(b"a" * 99, fails_at=50, failure=Unreadable("input/output error")), "unreadable"),
    (File(noise(5, 5 * MIB), fails_at=4_800_000, failure=Unreadable("input/output error")), "unreadable"),
    (File(noise(6, 5 * MIB), fails_at=4_800_000, failure=Vanished("stale file handle")), "unreadable"),
]


@pytest.mark.parametrize(("file", "what"), FAILURES)
def test_what_can_not_be_read_is_left_out_and_named(repository: Repository, file: File, what: str) -> None:
    files = {b"a/file": b"a", b"b": file, b"c": noise(7, 200_000)}
    snapshot = save(repository, files, 0)
    assert [(flaw.path, flaw.what, flaw.allowed) for flaw in snapshot.flaws] == [("b", what, False)]
    assert snapshot.flaws[0].why
    assert not snapshot.complete
    assert restored(repository, snapshot) == {b"a/file": b"a", b"c": noise(7, 200_000)}
    assert repository.check("content").good


@pytest.mark.parametrize("fails_at", [3 * MIB, 9 * MIB, 10 * MIB - 1])
@pytest.mark.parametrize("before", [1, 100_000, 700_000, 1_300_000, 1_900_000, 2_500_000])
def test_what_was_read_before_a_failure_is_not_missing_from_another_item(
    repository: Repository, before: int, fails_at: int
) -> None:
    """The chunks of a stream that fails half-way were claimed: an equal stream right after it relies on them."""
    content = noise(8, 10 * MIB)
    files = {
        b"a": noise(7, before),
        b"b": File(content, fails_at=fails_at, failure=Unreadable("input/output error")),
        b"c": content,
        b"d": noise(9, 3 * MIB),
    }
    snapshot = save(repository, files, 0)
    assert restored(repository, snapshot) == {b"a": noise(7, before), b"c": content, b"d": noise(9, 3 * MIB)}
    assert repository.check("content").good


def test_allowed_flaws_leave_a_snapshot_complete_but_are_named(repository: Repository) -> None:
    files = {b"logs/a.log": File(b"a", flaw="partial"), b"c": File(b"c", refuses=Vanished("gone")), b"d": b"d"}
    capture = MemoryCapture(files, flaws=(Flaw(b"logs/sub", "unreadable", "permission denied"),))
    some = repository.save(capture, about(0, allow_incomplete=("logs/",)), repository.destination)
    assert {(flaw.path, flaw.what): flaw.allowed for flaw in some.flaws} == {
        ("logs/sub", "unreadable"): True,
        ("logs/a.log", "partial"): True,
        ("c", "vanished"): False,
    }
    assert not some.complete
    capture = MemoryCapture(files)
    everything = repository.save(capture, about(1, allow_incomplete=("*.log", "/c")), repository.destination)
    assert everything.complete
    assert len(everything.flaws) == 2


def test_more_flaws_than_a_snapshot_lists_are_all_counted_and_judged(repository: Repository) -> None:
    files: dict[bytes, File | bytes] = {b"tmp/%04d" % at: File(b"x", refuses=Vanished("gone")) for at in range(1500)}
    files[b"z"] = File(b"x", refuses=Unreadable("permission denied"))
    capture = MemoryCapture(files)
    snapshot = repository.save(capture, about(0, allow_incomplete=("tmp/",)), repository.destination)
    assert snapshot.figures["flaws"] == 1501
    assert not snapshot.complete
    assert "z" in {flaw.path for flaw in snapshot.flaws}, "the one that matters is among those that are listed"


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


@pytest.mark.parametrize("paths", [[b"b", b"a"], [b"a", b"a"], [b"a-b", b"a/b"], [b"a/b", b"a"]])
def test_items_out_of_order_are_an_error_and_leave_no_snapshot(repository: Repository, paths: list[bytes]) -> None:
    class Disorderly(MemoryCapture):
        def __iter__(self):  # type: ignore[no-untyped-def]  # as the capture's
            by_path = {item.entry.path: item for item in super().__iter__()}
            return iter([by_path[path] for path in paths])

    capture = Disorderly(dict.fromkeys(paths, b"x"))
    with pytest.raises(BackupError, match="out of order"):
        repository.save(capture, about(0), repository.destination)
    assert repository.snapshots() == []
    assert restored(repository, save(repository, {b"a": b"1"}, 1)) == {b"a": b"1"}


def test_the_same_run_again_gives_the_same_snapshot_and_stores_nothing(repository: Repository) -> None:
    first = save(repository, TREE, 0)
    before = list(repository.destination.list())
    capture = MemoryCapture({b"something": b"else"})
    assert repository.save(capture, about(0), repository.destination) == first
    assert capture.opened == []
    assert list(repository.destination.list()) == before


def test_a_source_that_breaks_off_leaves_no_snapshot_and_what_it_stored_is_used(repository: Repository) -> None:
    class Broken(Exception):
        pass

    def before(path: bytes) -> None:
        if path == b"z":
            raise Broken

    files = {b"a": noise(1, 40 * MIB), b"z": b"z"}
    with pytest.raises(Broken):
        save(repository, files, 0, before=before)
    assert repository.snapshots() == []
    snapshot = save(repository, files, 1)
    assert restored(repository, snapshot) == files
    assert repository.check("content").good


def test_an_error_of_a_stream_that_is_no_flaw_ends_the_capture(repository: Repository) -> None:
    files = {b"a": File(b"a" * 100, fails_at=10, failure=BackupError("the server is gone")), b"b": b"b"}
    with pytest.raises(BackupError, match="the server is gone"):
        save(repository, files, 0)
    assert repository.snapshots() == []


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


def test_a_change_of_one_part_in_a_hundred_stores_little_more(repository: Repository) -> None:
    files = {b"small/%03d" % at: noise(at, 20_000) for at in range(300)} | {b"large": noise(999, 12 * MIB)}
    first = save(repository, files, 0)
    changed, stored = dict(files), []
    for night in range(1, 5):
        for at in range(3):
            changed[b"small/%03d" % (night * 50 + at)] = noise(night * 1000 + at, 20_000)
        large = bytearray(changed[b"large"])
        at = night * 2 * MIB
        large[at : at + 120_000] = noise(night, 121_000)
        changed[b"large"] = bytes(large)
        snapshot = save(repository, changed, night)
        assert restored(repository, snapshot) == changed
        stored.append(snapshot.figures["stored_bytes"] / first.figures["stored_bytes"])
    assert all(0.009 < part < 0.05 for part in stored), stored


FILES = st.builds(
    File,
    content=st.integers(0, 6).flatmap(
        lambda kind: (
            st.binary(max_size=40)
            if kind < 4
            else st.tuples(st.integers(0, 3), st.integers(1, 3_000_000)).map(lambda drawn: noise(*drawn))
        )
    ),
    cut=st.sampled_from(["", "", "p4", "c256", "w"]),
    want_digest=st.booleans(),
    at_most=st.sampled_from([1 << 62, 1 << 62, 100_001]),
    grown=st.sampled_from([b"", b"", b"", b"more"]),
)
NIGHTS = count()
PATHS = st.lists(st.sampled_from([b"a", b"b", b"a-", b"\xff", b"0"]), min_size=1, max_size=2).map(b"/".join)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nights=st.lists(st.dictionaries(PATHS, FILES, max_size=8), min_size=1, max_size=3))
def test_any_nights_are_restored_as_they_were(repository: Repository, nights: list[dict[bytes, File]]) -> None:
    saved = []
    for files in nights:
        capture = MemoryCapture(files)
        snapshot = repository.save(capture, replace(about(0), id=f"night-{next(NIGHTS)}"), repository.destination)
        saved.append((snapshot, {path: file.content + file.grown for path, file in files.items()}))
    for snapshot, right in saved:
        assert restored(repository, snapshot) == right
        assert len(snapshot.flaws) <= sum(len(each) for each in nights)

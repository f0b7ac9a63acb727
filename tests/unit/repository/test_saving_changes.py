"""The next night: what did not change is not opened, and what changed costs what it changed."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.content_digest import content_digest
from tasks.item import FOLDER, SYMLINK
from tasks.repository import Repository, chunker
from tests.memory_source import File, MemoryCapture, contents, tree
from tests.repositories import about, restored, save, stored_bytes

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
    files: dict[bytes, File | bytes] = {b"a": noise(1, 300_000), b"b": noise(2, 9 * MIB), b"c": b"c"}
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
    plain = contents(TREE)
    save(repository, plain, 0)
    wanting = {path: File(content, want_digest=True) for path, content in plain.items()}
    for night in (1, 2):
        capture = MemoryCapture(wanting)
        repository.save(capture, about(night), repository.destination)
        assert {item.entry.path: item.entry.digest for item in capture.kept} == {
            path: content_digest(content) for path, content in plain.items()
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
    database = b"SQLite format 3\0" + (4096).to_bytes(2, "big") + noise(1, 4 * MIB - 18)
    snapshot = save(repository, {b"database": database, b"pages": File(noise(2, MIB), cut="p4")}, 0)
    assert [item.entry.cut for item in repository.read(snapshot)] == ["p8", "p4"]
    changed = bytearray(database)
    for at in range(5):
        changed[at * 800_000 + 5000] ^= 1
    second = save(repository, {b"database": bytes(changed), b"pages": File(noise(2, MIB), cut="p4")}, 1)
    assert second.figures["new_bytes"] == 5 * (8 << 10)
    assert restored(repository, second)[b"database"] == changed


UNKNOWN = {"size": -1, "version": (0, 0)}


def test_a_stream_of_unknown_size_is_cut_by_what_is_expected_and_by_what_it_was(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunker, "MOST_CHUNKS", 1 << 11)
    streams = {b"a": noise(1, 9 * MIB), b"b": noise(2, MIB)}

    def cuts(number: int, expected: int = 0, **entry: object) -> list[str]:
        files = {path: File(data, UNKNOWN | entry, cut="c1", expected=expected) for path, data in streams.items()}
        return [item.entry.cut for item in repository.read(save(repository, files, number))]

    assert cuts(0) == ["c4", "c1"], "as a first buffer tells"
    assert cuts(1) == ["c16", "c1"]
    streams[b"c"] = noise(3, MIB)
    assert cuts(2, 100 * MIB) == ["c16", "c1", "c64"], "what is expected counts where it was not seen before"
    streams[b"a"] = streams.pop(b"c")
    assert cuts(3) == ["c16", "c1"], "and stays so"
    streams = {b"a piece": noise(4, MIB)}
    assert cuts(4, 100 * MIB, size=MIB) == ["c64"], "as all of what it is a piece of"


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
        # One more: where an example before left files, a night without any is told.
        assert len(snapshot.flaws) <= sum(len(each) for each in nights) + 1


def records(chance: random.Random, count: int) -> list[bytes]:
    """Rows as a database exports them, of some 300 bytes each, that compress a little."""
    return [
        b'{"id": %d, "user": "%s", "text": "%s"}\n'
        % (number, chance.randbytes(8).hex().encode(), chance.randbytes(chance.randrange(85, 150)).hex().encode())
        for number in range(count)
    ]


def test_of_a_stream_of_small_records_a_change_anywhere_costs_little_more_than_what_changed(
    repository: Repository,
) -> None:
    chance = random.Random(12)
    rows = records(chance, 60_000)
    first = save(repository, {b"rows": File(b"".join(rows), cut="c1")}, 0)
    before = stored_bytes(repository.destination)
    for number in chance.sample(range(len(rows)), len(rows) // 100):
        # Some rows become longer, some shorter.
        rows[number] = rows[number][: -chance.randrange(3, 40)] + chance.randbytes(chance.randrange(20)).hex().encode()
    second = save(repository, {b"rows": File(b"".join(rows), cut="c1")}, 1)
    assert stored_bytes(repository.destination) - before < 0.075 * before, "of which a tenth part would be too much"
    assert restored(repository, first) != restored(repository, second) == {b"rows": b"".join(rows)}
    (item,) = repository.read(second)
    assert item.entry.cut == "c1"


@pytest.mark.parametrize("cut", ["c1", "c4", "p4"])
def test_finely_cut_streams_share_what_others_hold_in_every_mixture(repository: Repository, cut: str) -> None:
    """Known, new and repeated chunks side by side, over several buffers and blocks."""
    chance = random.Random(3)
    parts = [chance.randbytes(chance.randrange(40, 300_000)) for _ in range(60)]
    mixed = [*parts, *chance.choices(parts, k=60), b"end"]
    chance.shuffle(mixed)
    one: dict[bytes, File | bytes] = {b"a": File(b"".join(parts[::2]), cut=cut)}
    files = {**one, b"b": File(b"".join(mixed), cut=cut), b"c": bytes(9 * MIB)}
    first = save(repository, one, 0)
    second = save(repository, files, 1)
    assert restored(repository, first) == contents(one)
    assert restored(repository, second) == contents(files)
    assert repository.check(depth="content").good
    assert second.figures["new_bytes"] < sum(map(len, contents(files).values())) * 0.9
    assert save(repository, files, 2).figures["new_bytes"] == 0


def test_an_unchanged_list_is_taken_over_with_its_folders_and_links(repository: Repository) -> None:
    files = {**TREE, **tree({b"f/%03d/small" % at: b"%d" % at for at in range(300)})}
    first = save(repository, files, 0)
    second = save(repository, files, 1)
    assert (second.level, second.content) == (first.level, first.content)
    assert second.figures["stored_bytes"] == 0
    files[b"f/123"] = File(entry={"type": FOLDER, "size": 0, "mode": 0o700})
    third = save(repository, files, 2)
    assert third.content != first.content
    assert {item.entry.path: item.entry.mode for item in repository.read(third)}[b"f/123"] == 0o700

"""Streams of rows through a repository: restored both ways, cheap when few rows change, never trusted blindly."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import count

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks.content_digest import content_digest
from tasks.errors import BackupError, Damaged
from tasks.item import Stored, Unreadable
from tasks.repository import Repository, columns
from tasks.repository.columns import WINDOW, Columns
from tasks.repository.pack import NAME
from tests.memory_source import File, ForgivingSink, MemorySink
from tests.repositories import packs, read_through, restored, save

MIB = 1 << 20
WIDTHS = (132, 1536, 8)
ROW = sum(WIDTHS)
NIGHTS = count(1000)

Rows = NDArray[numpy.uint8]


def rows(number: int, seed: int = 1) -> Rows:
    """Rows like those of an HNSW index: links, a unit vector, a label."""
    chance = numpy.random.default_rng(seed)
    made = numpy.zeros((number, ROW), numpy.uint8)
    links = chance.integers(0, number, (number, 33)).astype("<u4")
    links[:, 0] = 32
    made[:, :132] = links.view(numpy.uint8)
    vectors = chance.standard_normal((number, 384)).astype("<f4")
    made[:, 132:1668] = (vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)).view(numpy.uint8)
    made[:, 1668:] = numpy.arange(number, dtype="<u8").reshape(-1, 1).view(numpy.uint8)
    return made


def touched(made: Rows, part: float) -> Rows:
    """Some vectors changed, and links in most rows."""
    chance, again = numpy.random.default_rng(9), made.copy()
    chosen = chance.choice(len(made), max(1, int(len(made) * part)), replace=False)
    again[chosen, 132:1668] = rows(len(chosen), 77)[:, 132:1668]
    for at in range(0, len(made), 2):
        again[at, 4:8] = chance.integers(0, 255, 4)
    return again


def only(repository: Repository, night: int) -> Stored:
    (item,) = repository.read(repository.snapshots()[night])
    return item


def test_rows_are_restored_by_both_ways_and_their_digest_is_that_of_the_file(repository: Repository) -> None:
    content = rows(7000).tobytes() + b"the rest of a row"
    snapshot = save(repository, {b"index": File(content, columns=WIDTHS, want_digest=True)}, 0)
    item = only(repository, 0)
    assert item.columns == (7000 * ROW, WINDOW // ROW, *WIDTHS)
    assert item.entry.digest == content_digest(content)
    assert item.entry.cut == "r"
    assert restored(repository, snapshot) == {b"index": content}
    for step in (1 << 20, 777, 5 * MIB):
        assert read_through(repository.read(snapshot), b"index", step) == content
    assert repository.check("content").good
    assert snapshot.figures["content_bytes"] == snapshot.figures["read_bytes"] == len(content)


def test_one_vector_in_a_hundred_costs_little_and_plain_cutting_would_cost_all(repository: Repository) -> None:
    before = rows(6000)
    after = touched(before, 0.01)
    first = save(repository, {b"index": File(before.tobytes(), columns=WIDTHS)}, 0)
    second = save(repository, {b"index": File(after.tobytes(), columns=WIDTHS)}, 1)
    assert second.figures["stored_bytes"] < 0.1 * first.figures["stored_bytes"]
    assert restored(repository, second) == {b"index": after.tobytes()}
    assert restored(repository, first) == {b"index": before.tobytes()}
    plain = save(repository, {b"plain": before.tobytes()}, 2)
    again = save(repository, {b"plain": after.tobytes()}, 3)
    assert again.figures["stored_bytes"] > 0.9 * plain.figures["stored_bytes"]


def test_rows_that_are_added_leave_those_before_alone(repository: Repository) -> None:
    whole = rows(9000).tobytes()
    before = whole[: 8000 * ROW]
    first = save(repository, {b"index": File(before, columns=WIDTHS)}, 0)
    second = save(repository, {b"index": File(whole, columns=WIDTHS)}, 1)
    assert second.figures["new_bytes"] < 1000 * ROW + 40_000
    assert first.figures["new_bytes"] == len(before)
    assert restored(repository, second) == {b"index": whole}


def test_columns_apart_are_fewer_bytes_than_rows(repository: Repository) -> None:
    content = rows(6000).tobytes()
    apart = save(repository, {b"index": File(content, columns=WIDTHS)}, 0)
    plain = save(repository, {b"plain": content}, 1)
    assert apart.figures["stored_bytes"] < plain.figures["stored_bytes"]


def test_an_item_that_lost_its_hint_keeps_its_columns_and_another_hint_replaces_them(repository: Repository) -> None:
    content = rows(3000).tobytes()
    save(repository, {b"index": File(content, columns=WIDTHS)}, 0)
    lost = save(repository, {b"index": File(content + b"x", entry={"version": (5, 5)})}, 1)
    assert lost.figures["new_bytes"] < 10_000
    assert only(repository, 1).columns[2:] == WIDTHS
    other = File(content + b"xy", columns=(8, ROW - 8), entry={"version": (6, 6)})
    snapshot = save(repository, {b"index": other}, 2)
    assert only(repository, 2).columns[2:] == (8, ROW - 8)
    assert restored(repository, snapshot) == {b"index": content + b"xy"}


def test_an_unchanged_item_is_not_read_again_and_its_snapshot_says_so_to_older_readers(repository: Repository) -> None:
    content = rows(300).tobytes()
    plain = save(repository, {b"a": content}, 0)
    first = save(repository, {b"index": File(content, columns=WIDTHS)}, 1)
    second = save(repository, {b"index": File(content)}, 2)
    assert second.figures["unchanged"] == 1
    assert (plain.format, first.format, second.format) == (1, 2, 2)
    assert restored(repository, second) == {b"index": content}


def test_a_small_stream_stays_whole_whatever_is_hinted(repository: Repository) -> None:
    content = rows(20).tobytes()
    snapshot = save(repository, {b"index": File(content, columns=WIDTHS)}, 0)
    assert (only(repository, 0).columns, only(repository, 0).entry.cut) == ((), "w")
    assert restored(repository, snapshot) == {b"index": content}


def test_what_comes_back_wrong_in_memory_is_stored_as_it_is(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = columns.join
    monkeypatch.setattr(columns, "join", lambda stored, widths: memoryview(bytes(len(stored))))
    content = rows(6000).tobytes()
    snapshot = save(repository, {b"index": File(content, columns=WIDTHS, want_digest=True)}, 0)
    monkeypatch.setattr(columns, "join", right)
    assert only(repository, 0).columns == ()
    assert only(repository, 0).entry.digest == content_digest(content)
    assert restored(repository, snapshot) == {b"index": content}
    assert read_through(repository.read(snapshot), b"index") == content


def test_a_stream_of_rows_that_breaks_off_leaves_what_others_may_rely_on(repository: Repository) -> None:
    content = rows(9000).tobytes()
    failing = File(content, columns=WIDTHS, fails_at=11 * MIB, failure=Unreadable("the disk"))
    snapshot = save(repository, {b"a": failing, b"b": File(content, columns=WIDTHS)}, 0)
    assert [flaw.path for flaw in snapshot.flaws] == ["a"]
    assert restored(repository, snapshot) == {b"b": content}
    assert repository.check("content").good


@pytest.mark.parametrize(
    "lie",
    [
        (1,),
        (12, 1, 4, 9),
        (3000 * ROW, 0, *WIDTHS),
        (3001 * ROW, WINDOW // ROW, *WIDTHS),
        (3000 * ROW, WINDOW // ROW - 7, *WIDTHS),
    ],
)
def test_a_record_that_lies_about_its_columns_is_an_error(repository: Repository, lie: tuple[int, ...]) -> None:
    snapshot = save(repository, {b"index": File(rows(3000).tobytes(), columns=WIDTHS)}, 0)
    item = only(repository, 0)._replace(columns=lie)
    items = repository.read(snapshot)
    with pytest.raises(Damaged, match="index"):
        items.extract([item], MemorySink())


@pytest.mark.parametrize("way", ["extract", "open"])
def test_damage_in_a_window_is_named_and_no_wrong_byte_comes_out(repository: Repository, way: str) -> None:
    snapshot = save(repository, {b"index": File(rows(6000).tobytes(), columns=WIDTHS)}, 0)
    for name in packs(repository):
        data = bytearray(repository.destination.get(name))
        data[len(data) // 3] ^= 1
        repository.destination.delete(name)
        repository.destination.put(name, bytes(data))
    with pytest.raises(BackupError):
        restored(repository, snapshot) if way == "extract" else read_through(repository.read(snapshot), b"index")
    assert not repository.check("content").good


def test_damage_in_a_window_costs_a_sink_that_forgives_no_other_item(repository: Repository) -> None:
    index = File(rows(6000).tobytes(), columns=WIDTHS)
    save(repository, {b"index": index}, 0)
    large = max(packs(repository), key=lambda name: len(repository.destination.get(name)))
    snapshot = save(repository, {b"index": index, b"other": b"whole"}, 1)
    data = bytearray(repository.destination.get(large))
    data[len(data) // 3] ^= 1
    repository.destination.delete(large)
    repository.destination.put(large, bytes(data))
    items, sink = repository.read(snapshot), ForgivingSink()
    items.extract(items, sink)
    assert (sink.contents, set(sink.missing)) == ({b"other": b"whole"}, {b"index"})


@pytest.mark.parametrize("harm", ["chunk", "list", "size", "columns"])
def test_what_is_missing_of_rows_costs_a_sink_that_forgives_no_other_item(repository: Repository, harm: str) -> None:
    index = File(rows(6000).tobytes(), columns=WIDTHS)
    save(repository, {b"index": index, b"other": b"whole", b"twin": index}, 0)
    snapshot = repository.snapshots()[0]
    items, sink = repository.read(snapshot), ForgivingSink()

    def harmed(item: Stored) -> Stored:
        if item.entry.path != b"index":
            return item
        if harm == "size":
            return item._replace(entry=item.entry._replace(size=item.entry.size + ROW))
        if harm == "columns":
            return item._replace(columns=(*item.columns, 1 << 60))
        return item._replace(content=bytes(NAME) + item.content[NAME:], level=item.level if harm == "list" else 0)

    items.extract(map(harmed, items), sink)
    assert sink.contents == {b"other": b"whole", b"twin": index.content}
    assert list(sink.missing) == [b"index"]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    widths=st.lists(st.integers(1, 3000), min_size=2, max_size=5).map(tuple),
    size=st.integers(65_537, 9 * MIB),
    grown=st.binary(max_size=3000),
    at_most=st.sampled_from([1 << 62, 65_537]),
    seed=st.integers(0, 1 << 40),
)
def test_any_shape_and_size_is_restored_by_both_ways(  # noqa: PLR0917 - what is drawn
    repository: Repository, widths: tuple[int, ...], size: int, grown: bytes, at_most: int, seed: int
) -> None:
    content = random.Random(seed).randbytes(size)
    night = next(NIGHTS)
    path = b"%d" % night
    file = File(content, columns=widths, at_most=at_most, want_digest=True)
    for each in (file, replace(file, content=content + grown)):
        snapshot = save(repository, {path: each}, next(NIGHTS))
        assert restored(repository, snapshot) == {path: each.content}
        assert read_through(repository.read(snapshot), path) == each.content
        (item,) = repository.read(snapshot)
        assert Columns.of(item.columns).length == len(each.content) // sum(widths) * sum(widths)

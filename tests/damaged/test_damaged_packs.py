"""Packs that rot, are cut short, lost or swapped: they and who suffers are named, and no wrong byte comes out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tasks.errors import BackupError
from tasks.repository.pack import object_name
from tests.damaged.history import History, contents_of, stranger
from tests.repositories import START, restored

Change = Callable[[bytearray], None]


def flip(at: int) -> Change:
    """Of the byte at `at`, or from the end where it is negative, one bit."""

    def change(data: bytearray) -> None:
        data[at] ^= 0x10

    return change


def flip_at(part: float, data: bytearray) -> None:
    data[int(part * len(data))] ^= 1


def cut(part: float, data: bytearray) -> None:
    del data[int(part * len(data)) :]


def cut_last(data: bytearray) -> None:
    del data[-1]


def insert(data: bytearray) -> None:
    data[200:200] = b"\0"


def zero_page(data: bytearray) -> None:
    data[200:328] = bytes(128)


FLIPPED: dict[str, Change] = {
    "magic": flip(0),
    "format": flip(3),
    "kind": flip(4),
    "first byte of the key": flip(5),
    "middle of the key": flip(20),
    "first block": flip(130),
    "a third in": partial(flip_at, 1 / 3),
    "middle": partial(flip_at, 0.5),
    "two thirds in": partial(flip_at, 2 / 3),
    "footer": flip(-40),
    "end of the footer": flip(-9),
    "length of the footer": flip(-8),
    "high byte of that length": flip(-5),
    "end": flip(-1),
    "a page of zeros": zero_page,
}
RESIZED: dict[str, Change] = {
    "emptied": lambda data: data.clear(),
    "only a header": partial(cut, 0.01),
    "half": partial(cut, 0.5),
    "without its last byte": cut_last,
    "with a byte appended": lambda data: data.append(0),
    "with a byte inserted": insert,
    "twice": lambda data: data.extend(data),
}
KINDS = ["D", "L"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", FLIPPED.values(), ids=FLIPPED)
def test_a_changed_byte_is_found_by_reading(history: History, kind: str, change: Change) -> None:
    name = history.pack_of(1, kind)
    history.alter(name, change)
    assert history.repository.check("listing").good, "it is there, and has its size"
    if kind == "D":
        assert history.repository.check("items").good
    report = history.assert_never_wrong()
    assert {object_name(pack) for pack in report.damaged_packs} == {name}
    named = {each.name for each in report.damage}
    assert named - {f"snapshots/{snapshot.id}" for snapshot in history.snapshots} == {name}
    assert history.snapshots[1].id in history.hurt(report)
    assert history.snapshots[0].id not in history.hurt(report), "the first night knows nothing of the second"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", RESIZED.values(), ids=RESIZED)
def test_another_size_is_found_by_listing(history: History, kind: str, change: Change) -> None:
    name = history.pack_of(1, kind)
    history.alter(name, change)
    (damage,) = history.repository.check("listing").damage
    assert damage.name == name
    report = history.assert_never_wrong()
    assert {object_name(pack) for pack in report.damaged_packs} == {name}
    assert history.hurt(report) - {history.snapshots[2].id} == {history.snapshots[1].id}, "the third night may share it"


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_pack_is_found_by_listing(history: History, kind: str) -> None:
    name = history.pack_of(1, kind)
    history.destination.delete(name)
    (damage,) = history.repository.check("listing").damage
    assert damage.name == name
    assert "missing" in damage.what
    report = history.assert_never_wrong()
    assert history.hurt(report) - {history.snapshots[2].id} == {history.snapshots[1].id}, "the third night may share it"


@pytest.mark.parametrize("kind", KINDS)
def test_two_packs_that_changed_places_are_both_found(history: History, kind: str) -> None:
    first, second = history.pack_of(0, kind), history.pack_of(1, kind)
    one, other = history.destination.get(first), history.destination.get(second)
    history.replace(first, other)
    history.replace(second, one)
    report = history.assert_never_wrong()
    assert {object_name(pack) for pack in report.damaged_packs} == {first, second}


@pytest.mark.parametrize("kind", KINDS)
def test_a_pack_of_another_history_under_this_name_is_found(history: History, kind: str) -> None:
    name = history.pack_of(1, kind)
    foreign = next(each.name for each in stranger().list("packs/") if stranger().get(each.name, 4, 1) == kind.encode())
    history.replace(name, stranger().get(foreign))
    report = history.assert_never_wrong()
    assert {object_name(pack) for pack in report.damaged_packs} == {name}


def test_a_second_copy_of_a_pack_under_another_name_is_an_orphan_and_no_damage(history: History) -> None:
    name = history.pack_of(1, "D")
    history.destination.put(object_name(bytes(16)), history.destination.get(name))
    report = history.assert_never_wrong()
    assert report.good
    assert report.figures["orphan_packs"] == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["flipped", "lost", "emptied"])
def test_what_was_damaged_is_stored_again_by_the_next_night(history: History, kind: str, how: str) -> None:
    name = history.pack_of(2, kind)
    if how == "lost":
        history.destination.delete(name)
    else:
        history.alter(name, flip(150) if how == "flipped" else RESIZED["emptied"])
    found = history.repository.check("content")
    assert not found.good
    history.repository.condemn_damaged(found.damaged_packs, START)
    snapshot = history.next_night()
    assert restored(history.reopened(), snapshot) == contents_of(2)
    report = history.assert_never_wrong()
    assert report.good, "and what the source still has is whole again in older snapshots too"
    assert restored(history.reopened(), history.snapshots[2]) == contents_of(2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["lost", "emptied", "twice"])
def test_what_is_lost_or_of_another_size_is_stored_again_without_any_verify(
    history: History, kind: str, how: str
) -> None:
    name = history.pack_of(2, kind)
    if how == "lost":
        history.destination.delete(name)
    else:
        history.alter(name, RESIZED[how])
    snapshot = history.next_night()
    assert restored(history.reopened(), snapshot) == contents_of(2)
    assert restored(history.reopened(), history.snapshots[2]) == contents_of(2), "the older one finds the new place"
    assert not history.hurt(history.assert_never_wrong())


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_source_no_longer_has_stays_named(history: History, kind: str) -> None:
    name = history.pack_of(1, kind)
    history.destination.delete(name)
    found = history.repository.check("content")
    history.repository.condemn_damaged(found.damaged_packs, START)
    history.next_night()
    report = history.assert_never_wrong()
    assert {each.name for each in report.damage} == {name, f"snapshots/{history.snapshots[1].id}"}
    for _ in range(2):
        history.repository.condemn_damaged(report.damaged_packs, START)
    assert len(history.names("condemned/")) == 3, "it is condemned once"


def test_a_damaged_list_does_not_stop_the_next_night(history: History) -> None:
    """Before any verify: everything is read again where the last list can't be."""
    for pack in history.snapshots[2].packs:
        name = f"packs/{pack[:2]}/{pack}"
        if history.destination.get(name, 4, 1) == b"L":
            history.alter(name, flip(60))
    snapshot = history.next_night()
    assert snapshot.figures["files"] == len(contents_of(2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_prune_deletes_nothing_that_may_be_needed_while_lists_are_damaged(history: History, kind: str) -> None:
    name = history.pack_of(1, kind)
    history.alter(name, flip(60 if kind == "L" else 150))
    before = history.names("packs/")
    for _ in range(2):
        with suppress(BackupError):
            history.repository.plan_prune([], START, START - START).apply()
    assert history.names("packs/") == before


def test_all_damage_at_once_is_all_named(history: History, fast_path: Path) -> None:
    content, lists = history.pack_of(0, "D"), history.pack_of(1, "L")
    history.alter(content, flip(150))
    history.destination.delete(lists)
    report = history.assert_never_wrong()
    assert {object_name(pack) for pack in report.damaged_packs} == {content, lists}
    assert history.hurt(report) >= {history.snapshots[0].id, history.snapshots[1].id}

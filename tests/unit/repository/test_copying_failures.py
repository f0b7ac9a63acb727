"""Copies that are killed, cut off, or meet damage: nothing half is listed, and the next one heals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.destinations import Data, Destination, Overlay
from tasks.errors import BackupError, Condemned, Damaged, Missing, Refused, Unavailable
from tasks.repository import Repository, Scope, packing, pruning
from tasks.repository.pack import object_name
from tests.memory_source import File, MemoryCapture
from tests.passing_destination import Passing
from tests.repositories import START, about, create, keys, local, packs, restored
from tests.unit.repository.house import FIRST, GRACE, MIB, SECOND, House, assert_holds, day, noise, opened


def test_a_snapshot_whose_chunks_the_reference_lost_is_not_listed_anywhere(house: House) -> None:
    house.night(FIRST, 0, house.first)
    spooled, snapshot = house.capture(SECOND, 1)
    for name in list(house.first.index_names()):
        house.first.destination.delete(name)
    for to in (house.first, house.second):
        with pytest.raises(BackupError):
            spooled.copy(snapshot.id, to)
        assert snapshot.id not in to.snapshot_ids()
    again = house.night(SECOND, 2, house.first, house.second)
    assert restored(house.first, again) == SECOND
    assert_holds(house.second, again, SECOND)


class Interrupted(Exception):
    """Stands for a kill: nobody in between catches it."""


class StopsBefore(Passing):
    """A destination that is killed right before its n-th change, or calls `instead` before a name with a prefix."""

    def __init__(self, inner: Destination, number: int) -> None:
        super().__init__(inner)
        self._left = number

    def put(self, name: str, data: Data) -> None:
        self._count()
        self._inner.put(name, data)

    def delete(self, name: str) -> None:
        self._count()
        self._inner.delete(name)

    def _count(self) -> None:
        if not self._left:
            raise Interrupted
        self._left -= 1


def test_a_copy_killed_at_any_change_leaves_nothing_half_and_goes_on(house: House) -> None:
    house.night(FIRST, 0, house.first, house.second)
    spooled, snapshot = house.capture(SECOND, 1)
    for number in range(20):
        stopping = Repository.open(StopsBefore(house.second.destination, number), keys().writer)
        try:
            spooled.copy(snapshot.id, stopping)
        except Interrupted:
            assert house.second.check("content").good
            continue
        assert number == 0 or snapshot.id in house.second.snapshot_ids()
        if snapshot.id in house.second.snapshot_ids():
            break
    assert_holds(house.second, snapshot, SECOND)


def test_every_kill_of_a_first_copy_is_survived(fast_path: Path) -> None:
    house = House(fast_path)
    spooled, snapshot = house.capture(FIRST, 0)
    for number in range(20):
        to = create(local(fast_path / f"to-{number}"))
        stopping = Repository.open(StopsBefore(to.destination, number), keys().writer)
        try:
            spooled.copy(snapshot.id, stopping)
            finished = True
        except Interrupted:
            finished = False
        assert (snapshot.id in to.snapshot_ids()) == finished
        assert to.check("content").good
        spooled.copy(snapshot.id, Repository.open(to.destination, keys().writer))
        assert_holds(to, snapshot, FIRST)
        if finished:
            break
    assert number >= 4, "two packs, an index and a snapshot were put"


def test_a_damaged_pack_is_not_handed_on(house: House) -> None:
    snapshot = house.night(FIRST, 0, house.first)
    for name in packs(house.first):
        whole = house.first.destination.get(name)
        house.first.destination.delete(name)
        house.first.destination.put(name, whole[:-100])
        with pytest.raises((Damaged, Condemned)):
            house.first.copy(snapshot.id, house.second)
        assert name not in packs(house.second)
        house.first.destination.delete(name)
        house.first.destination.put(name, whole)
    house.first.copy(snapshot.id, house.second)
    assert_holds(house.second, snapshot, FIRST)


def test_a_damaged_index_is_not_handed_on_but_made_of_what_a_copy_tells(house: House, tmp_path: Path) -> None:
    snapshot = house.night(FIRST, 0, house.first)
    with_copies = Repository.open(house.first.destination, keys().writer, tmp_path / "cache")
    with_copies.sound_index(names=True)
    damaged = house.first.index_names()
    for name in damaged:
        house.first.destination.delete(name)
        house.first.destination.put(name, b"")
    with_copies.copy(snapshot.id, house.second)
    assert not set(damaged) & set(house.second.index_names())
    assert_holds(house.second, snapshot, FIRST)


def test_what_has_an_index_objects_name_over_there_and_is_damaged_stops_no_copy(house: House) -> None:
    snapshot = house.night(FIRST, 0, house.first)
    names = house.first.index_names()
    for name in names:
        house.second.destination.put(name, b"damaged")
    house.first.copy(snapshot.id, house.second)
    assert len(house.second.index_names()) == 2 * len(names)
    assert restored(house.second, snapshot) == FIRST


@pytest.mark.parametrize("how", ["removed", "flipped", "cut short"])
def test_damage_at_the_second_destination_is_healed_by_the_next_night(house: House, how: str) -> None:
    """The reference still knows the chunks, so no capture stores them again: the copy must bring them."""
    first = house.night(FIRST, 0, house.first, house.second)
    for name in packs(house.second):
        data = bytearray(house.second.destination.get(name))
        house.second.destination.delete(name)
        if how == "flipped":
            data[len(data) // 2] ^= 1
            house.second.destination.put(name, data)
        elif how == "cut short":
            house.second.destination.put(name, data[: len(data) // 2])
    found = house.second.check("content")
    assert not found.good
    assert {object_name(pack) for pack in found.damaged_packs} == set(packs(house.first))
    house.second.condemn_damaged(found.damaged_packs, START)
    snapshot = house.night(SECOND, 1, house.first, house.second)
    assert_holds(house.second, snapshot, SECOND)
    assert_holds(house.second, first, FIRST)
    assert_holds(house.second, house.night(FIRST, 2, house.first, house.second), FIRST)


def test_who_may_not_delete_is_told_who_can_replace_what_is_damaged(house: House) -> None:
    """What prunes may delete."""

    class Writing(Passing):
        def delete(self, name: str) -> None:
            raise Refused(f"may not delete `{name}`")

    house.night(FIRST, 0, house.first, house.second)
    name = max(house.second.destination.list("packs/"), key=lambda listed: listed.size).name
    data = bytearray(house.second.destination.get(name))
    data[len(data) // 2] ^= 1
    house.second.destination.delete(name)
    house.second.destination.put(name, bytes(data))
    house.second.condemn_damaged(house.second.check("content").damaged_packs, day(1))
    spooled, snapshot = house.capture(SECOND, 1)
    with pytest.raises(Condemned, match=rf"{name}.* is damaged there .* prune there"):
        spooled.copy(snapshot.id, opened(Writing(house.second.destination), 1))
    spooled.copy(snapshot.id, opened(house.second.destination, 1))
    assert_holds(house.second, snapshot, SECOND)


def test_a_snapshot_that_is_not_there_can_not_be_copied(house: House) -> None:
    with pytest.raises(BackupError):
        house.first.copy("20261101T020000Z-00000000", house.second)


def test_a_destination_that_goes_away_half_way_is_unavailable_and_nothing_is_listed(house: House) -> None:
    class Gone(StopsBefore):
        def _count(self) -> None:
            try:
                super()._count()
            except Interrupted:
                raise Unavailable("the network is gone") from None

    spooled, snapshot = house.capture(FIRST, 0)
    for number in range(3):
        with pytest.raises(Unavailable):
            spooled.copy(snapshot.id, Repository.open(Gone(house.second.destination, number), keys().writer))
        assert house.second.snapshot_ids() == []
    spooled.copy(snapshot.id, house.second)
    assert_holds(house.second, snapshot, FIRST)


def test_a_copy_into_the_reference_is_seen_whole_by_a_capture_that_runs_meanwhile(house: House) -> None:
    """Packs, then index, then snapshot: whoever reads in between finds less, never something that is not there."""
    spooled, snapshot = house.capture(FIRST, 0)
    looked: list[int] = []

    class Watched(StopsBefore):
        def _count(self) -> None:
            report = house.first.check("items")
            assert report.good
            looked.append(int(report.figures["packs"]))

    spooled.copy(snapshot.id, Repository.open(Watched(house.first.destination, 0), keys().writer))
    assert sorted(set(looked)) == [0, len(packs(house.first))], "no pack is named before all are there"


def test_a_copy_goes_on_where_a_prune_moves_the_index_that_it_hands_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a destination that was down is brought level with another, which is pruned meanwhile."""
    monkeypatch.setattr(pruning, "_MOST_INDEXES", 1)
    house.night(FIRST, 0, house.first)
    last = house.night(SECOND, 1, house.first)

    class Pruned(Passing):
        def put(self, name: str, data: Data) -> None:
            house.first.plan_prune([], day(2), GRACE).apply()
            self._inner.put(name, data)

    here = Repository.open(house.first.destination, keys().writer)
    here.copy(last.id, Repository.open(Pruned(house.second.destination), keys().writer))
    assert_holds(house.second, last, SECOND)


def test_what_a_killed_capture_left_in_the_spool_is_used(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_PACKS_AN_INDEX", 1)
    files: dict[bytes, File | bytes] = {b"a": noise(1, 130 * MIB), b"b": b"b"}
    spool = local(house.folder / "spool")
    writing = Repository.open(house.first.destination, keys().writer)

    def stop(path: bytes) -> None:
        if path == b"b":
            raise Interrupted

    with pytest.raises(Interrupted):
        writing.save(MemoryCapture(files, before=stop), about(0), spool)
    snapshot = writing.save(MemoryCapture(files), about(0), spool)
    assert snapshot.figures["new_bytes"] < 130 * MIB
    spooled = Repository.open(Overlay(spool, house.first.destination), keys().writer)
    spooled.copy(snapshot.id, house.first)
    assert_holds(house.first, snapshot, {b"a": noise(1, 130 * MIB), b"b": b"b"})
    made = house.first.check("content", Scope(snapshot)).figures["read_packs"]
    assert made == len(packs(house.first)), "a verify of this snapshot also reads what the killed run had stored"
    with pytest.raises(Missing):
        house.first.destination.get("snapshots/none")

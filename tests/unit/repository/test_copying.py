"""From the spool to one destination and another: what is there is not sent, what is missing heals, nothing half comes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tasks.destinations import Data, Destination, Listed, Overlay
from tasks.errors import BackupError, Condemned, Damaged, Missing, Unavailable
from tasks.repository import Repository, Scope, Snapshot, packing
from tasks.repository.pack import object_name
from tests.memory_source import File, MemoryCapture
from tests.repositories import START, about, create, keys, local, packs, restored, save

MIB = 1 << 20
GRACE = timedelta(days=3)
Files = Mapping[bytes, File | bytes]


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


FIRST = {b"a": noise(1, 3 * MIB), b"b": b"b" * 1000, b"c": noise(2, 200_000)}
SECOND = {**FIRST, b"c": noise(3, 200_000), b"d": b"d"}


class House:
    """A spool and two destinations, used as a night uses them: with a writer's key, but for pruning and checking."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first, self.second = create(local(folder / "first")), create(local(folder / "second"))

    def capture(self, files: Files, night: int, reference: Repository | None = None) -> tuple[Repository, Snapshot]:
        """A capture into a spool of its own, and the repository as it will be: the spool over its reference."""
        below = (reference or self.first).destination
        spool = local(self.folder / f"spool-{night}")
        snapshot = opened(below, night).save(MemoryCapture(files), about(night), spool)
        assert not list(below.list(f"snapshots/{snapshot.id}"))
        return opened(Overlay(spool, below), night), snapshot

    def night(self, files: Files, night: int, *to: Repository, reference: Repository | None = None) -> Snapshot:
        spooled, snapshot = self.capture(files, night, reference)
        for destination in to:
            spooled.copy(snapshot.id, opened(destination.destination, night))
        return snapshot


def opened(destination: Destination, night: int) -> Repository:
    """By the writer's key, at that night's time."""
    repository = Repository.open(destination, keys().writer)
    repository.clock = lambda: day(night)
    return repository


def day(night: int) -> datetime:
    return START + timedelta(days=night)


@pytest.fixture
def house(fast_path: Path) -> House:
    return House(fast_path)


def assert_holds(repository: Repository, snapshot: Snapshot, files: Files) -> None:
    assert repository.snapshot(snapshot.id) == snapshot
    assert restored(repository, snapshot) == files
    assert repository.check("content").good


def test_a_night_reaches_both_destinations(house: House) -> None:
    one = house.night(FIRST, 0, house.first, house.second)
    two = house.night(SECOND, 1, house.first, house.second)
    for repository in (house.first, house.second):
        assert_holds(repository, one, FIRST)
        assert_holds(repository, two, SECOND)
    assert packs(house.first) == packs(house.second)


def test_the_spool_holds_only_what_is_new(house: House) -> None:
    house.night(FIRST, 0, house.first)
    spool, snapshot = house.capture(SECOND, 1)
    assert snapshot.figures["new_bytes"] == 200_001
    assert sum(listed.size for listed in spool.destination.list("packs/")) < 204_000 + sum(
        listed.size for listed in house.first.destination.list("packs/")
    )


def test_copying_again_sends_nothing(house: House) -> None:
    spooled, snapshot = house.capture(FIRST, 0)
    sent = spooled.copy(snapshot.id, house.first)
    assert sent["packs"] == len(packs(house.first)) == len(packs(spooled))
    before = list(house.first.destination.list())
    assert spooled.copy(snapshot.id, house.first) == {"packs": 0, "sent_bytes": 0}
    assert list(house.first.destination.list()) == before


def test_a_destination_that_was_down_for_some_nights_is_healed_by_the_next(house: House) -> None:
    files = dict(FIRST)
    for night in range(3):
        files[b"new-%d" % night] = noise(night + 10, 100_000)
        last = house.night(files, night, house.first)
    healed = house.night(files, 3, house.first, house.second)
    assert_holds(house.second, healed, files)
    assert house.second.snapshot_ids() == [healed.id]
    # What it missed can come later, from the other destination.
    house.first.copy(last.id, house.second)
    assert_holds(house.second, last, files)


def test_a_capture_against_the_second_destination_still_reaches_the_first(house: House) -> None:
    house.night(FIRST, 0, house.second)
    snapshot = house.night(SECOND, 1, house.first, house.second, reference=house.second)
    assert_holds(house.first, snapshot, SECOND)
    assert_holds(house.second, snapshot, SECOND)


def test_a_destination_that_was_pruned_differently_gets_what_it_let_go(house: House) -> None:
    first = house.night(FIRST, 0, house.first, house.second)
    house.night({b"z": b"z"}, 1, house.first, house.second)
    house.second.plan_prune([first.id], day(2), GRACE).apply()
    house.second.plan_prune([], day(5), GRACE).apply()
    assert len(packs(house.second)) < len(packs(house.first))
    again = house.night(FIRST, 9, house.first, house.second)
    assert again.figures["new_bytes"] == 0, "the first destination still has it"
    assert_holds(house.second, again, FIRST)


def test_what_the_second_condemned_lately_is_used_again_and_pardoned(house: House) -> None:
    """Nobody deletes it without looking at the snapshots once more; so it need not be refused for days."""
    first = house.night(FIRST, 0, house.first, house.second)
    house.night({b"z": b"z"}, 1, house.first, house.second)
    house.second.plan_prune([first.id], day(2), GRACE).apply()
    spooled, again = house.capture(FIRST, 3)
    assert spooled.copy(again.id, opened(house.second.destination, 3))["packs"] < 2, "only the item list, if anything"
    for night in (4, 5, 9):
        house.second.plan_prune([], day(night), GRACE).apply()
        assert_holds(house.second, again, FIRST)
    assert list(house.second.destination.list("condemned/")) == []


@pytest.mark.parametrize("hours", [1, 0, -1, -48])
def test_what_the_second_may_delete_any_moment_is_not_relied_on_and_sent_again_once_it_is_gone(
    house: House, hours: int
) -> None:
    first = house.night(FIRST, 0, house.first, house.second)
    house.night({b"z": b"z"}, 1, house.first, house.second)
    house.second.plan_prune([first.id], day(2), GRACE).apply()
    spooled, again = house.capture(FIRST, 5)
    late = opened(house.second.destination, 5)
    late.clock = lambda: day(5) - timedelta(hours=hours)
    with pytest.raises(Condemned):
        spooled.copy(again.id, late)
    assert again.id not in house.second.snapshot_ids()
    house.second.plan_prune([], day(5), GRACE).apply()
    spooled.copy(again.id, late)
    assert_holds(house.second, again, FIRST)


def test_a_repack_over_there_is_no_reason_to_send_again(house: House) -> None:
    many = {b"%d" % at: noise(at, 200_000) for at in range(10)}
    few = {path: many[path] for path in (b"2", b"5")}
    house.night(many, 0, house.first, house.second)
    house.night(few, 1, house.first, house.second)
    plan = house.second.plan_prune(house.second.snapshot_ids()[:1], START, GRACE)
    assert plan.figures["repack"]
    plan.apply()
    snapshot = house.night({**few, b"more": b"more"}, 2, house.first, house.second)
    assert_holds(house.second, snapshot, {**few, b"more": b"more"})
    assert_holds(house.first, snapshot, {**few, b"more": b"more"})


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


def test_a_snapshot_that_relies_on_what_is_condemned_meanwhile_is_not_listed_too_late(house: House) -> None:
    first = house.night(FIRST, 0, house.first)
    house.night({b"z": b"z"}, 1, house.first)
    spooled, snapshot = house.capture(FIRST, 2)
    house.first.plan_prune([first.id], day(2), GRACE).apply()
    with pytest.raises(Condemned):
        spooled.copy(snapshot.id, opened(house.first.destination, 5))
    assert snapshot.id not in house.first.snapshot_ids()
    again = house.night(FIRST, 6, house.first)
    assert again.figures["new_bytes"] > 3 * MIB
    assert_holds(house.first, again, FIRST)
    # In time it would have been safe.
    spooled.copy(snapshot.id, opened(house.first.destination, 3))
    for night in (7, 10):
        house.first.plan_prune([], day(night), GRACE).apply()
        assert_holds(house.first, snapshot, FIRST)


class Interrupted(Exception):
    """Stands for a kill: nobody in between catches it."""


class StopsBefore:
    """A destination that is killed right before its n-th change, or calls `instead` before a name with a prefix."""

    def __init__(self, inner: Destination, number: int) -> None:
        self._inner, self._left = inner, number

    def put(self, name: str, data: Data) -> None:
        self._count()
        self._inner.put(name, data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._inner.get(name, offset, length)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return self._inner.list(prefix)

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


def test_what_a_killed_capture_left_in_the_spool_is_used(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_PACKS_AN_INDEX", 1)
    files: dict[bytes, File | bytes] = {b"a": noise(1, 80 * MIB), b"b": b"b"}
    spool = local(house.folder / "spool")
    writing = Repository.open(house.first.destination, keys().writer)

    def stop(path: bytes) -> None:
        if path == b"b":
            raise Interrupted

    with pytest.raises(Interrupted):
        writing.save(MemoryCapture(files, before=stop), about(0), spool)
    snapshot = writing.save(MemoryCapture(files), about(0), spool)
    assert snapshot.figures["new_bytes"] < 80 * MIB
    spooled = Repository.open(Overlay(spool, house.first.destination), keys().writer)
    spooled.copy(snapshot.id, house.first)
    assert_holds(house.first, snapshot, {b"a": noise(1, 80 * MIB), b"b": b"b"})
    made = house.first.check("content", Scope(snapshot)).figures["read_packs"]
    assert made == len(packs(house.first)), "a verify of this snapshot also reads what the killed run had stored"
    with pytest.raises(Missing):
        house.first.destination.get("snapshots/none")


def test_save_into_a_destination_directly_and_into_a_spool_agree(house: House) -> None:
    direct = save(house.first, FIRST, 0)
    spooled = house.night(FIRST, 0, house.second, reference=house.second)
    assert direct.content == spooled.content
    assert restored(house.first, direct) == restored(house.second, spooled)

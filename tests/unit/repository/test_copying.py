"""From the spool to the destinations: what is there is not sent, what is missing heals, nothing arrives half."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.destinations import Data, Destination, Overlay
from tasks.destinations.destination import OnDisk
from tasks.errors import Condemned, Unavailable
from tasks.repository import Repository, pack, packing
from tasks.repository.copying import Copying
from tasks.repository.flights import AT_ONCE
from tests.memory_source import MemoryCapture
from tests.passing_destination import Passing
from tests.repositories import START, about, keys, local, packs, restored, save
from tests.unit.repository.house import FIRST, GRACE, MIB, SECOND, House, assert_holds, day, noise, opened


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


def test_packs_go_from_folder_to_folder_as_files_of_their_own_and_not_through_memory(house: House) -> None:
    files = {b"large": noise(7, 40 * MIB)}
    snapshot = house.night(files, 0, house.first)
    for file in files_of(house.first):  # which are the spool's too
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
        file.chmod(0o600)
    tracemalloc.start()
    try:
        house.first.copy(snapshot.id, house.second)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 * MIB
    own, others = files_of(house.first), files_of(house.second)
    assert len(own) == len(others) == len(packs(house.first)) > 1
    assert [file.stat().st_nlink for file in (*own, *others)] == [1] * 2 * len(own)
    assert_holds(house.second, snapshot, files)


def files_of(repository: Repository) -> list[Path]:
    assert isinstance(repository.destination, OnDisk)
    return list(filter(None, map(repository.destination.path_of, packs(repository))))


def test_a_destination_that_was_down_for_some_nights_is_healed_by_the_next(house: House) -> None:
    files, missed = dict(FIRST), []
    for night in range(3):
        files[b"new-%d" % night] = noise(night + 10, 100_000)
        missed.append(house.night(files, night, house.first))
    healed = house.night(files, 3, house.first, house.second)
    assert_holds(house.second, healed, files)
    assert house.second.snapshot_ids() == [healed.id]
    # What it missed can come later, from the other destination.
    house.first.copy(missed[-1].id, house.second)
    assert_holds(house.second, missed[-1], files)


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


def test_save_into_a_destination_directly_and_into_a_spool_agree(house: House) -> None:
    direct = save(house.first, FIRST, 0)
    spooled = house.night(FIRST, 0, house.second, reference=house.second)
    assert direct.content == spooled.content
    assert restored(house.first, direct) == restored(house.second, spooled)


@pytest.fixture
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "TARGET", MIB)
    monkeypatch.setattr(packing, "_PACKS_AN_INDEX", 3)


@pytest.mark.usefixtures("small_packs")
def test_packs_go_up_four_at_once_and_nothing_names_one_that_is_not_there(house: House) -> None:
    files = {b"%02d" % at: noise(at, MIB) for at in range(12)}
    spooled, snapshot = house.capture(files, 0)
    watched = Crowded(house.second.destination)
    told: list[dict[str, float]] = []
    sent = spooled.copy(snapshot.id, Repository.open(watched, keys().writer), told.append)
    assert sent["packs"] == len(packs(house.second)) >= 8
    assert watched.most == AT_ONCE
    assert watched.too_early == [], "an index came before a pack that it names"
    assert watched.order[-1] == "snapshots"
    done = [figures["done_bytes"] for figures in told]
    assert done == sorted(done)
    assert done[-1] == told[-1]["total_bytes"] == sent["sent_bytes"] == sum(house.second.listed_packs().values())
    assert_holds(house.second, snapshot, files)


@pytest.mark.usefixtures("small_packs")
def test_a_long_copy_that_is_cut_off_has_named_what_it_brought(house: House) -> None:
    """What came of the packs of one index is named over there before the next one's come, and not even read again."""
    files = dict[bytes, bytes]()
    nights = []
    for night in range(5):
        files |= {b"%d-%d" % (night, at): noise(10 * night + at, MIB) for at in range(4)}
        nights.append(house.night(files, night, house.first))
    snapshot = nights[-1]
    first = house.first.index_names()[0]
    brought = len(list(house.first.packs_of(first))) + AT_ONCE
    cut = Crowded(house.second.destination, most_packs=brought)
    with pytest.raises(Unavailable):
        house.first.copy(snapshot.id, Repository.open(cut, keys().writer))
    named = len(house.second.sound_index().packs)
    assert len(list(house.first.packs_of(first))) <= named <= len(packs(house.second)) <= brought
    assert house.second.check("items").good
    assert house.second.snapshot_ids() == []
    again = house.first.copy(snapshot.id, house.second)
    assert again["packs"] == len(packs(house.second)) - named
    assert_holds(house.second, snapshot, files)


def test_two_that_captured_the_same_and_send_it_side_by_side_both_find_it_there(house: House) -> None:
    """The broker lost what the first had done. Whose snapshot arrives last finds the other's by its name."""
    ours, snapshot = house.capture(SECOND, 0)  # a file changed in between
    spool = local(house.folder / "spool-of-another")
    other = opened(house.first.destination, 0).save(MemoryCapture(FIRST), about(0), spool)
    assert other.id == snapshot.id
    theirs = opened(Overlay(spool, house.first.destination), 0)

    overtaken = Overtaken(house.first.destination, lambda: theirs.copy(other.id, house.first))
    assert ours.copy(snapshot.id, opened(overtaken, 0))["packs"]
    assert_holds(house.first, other, FIRST)
    # What only the slower one needed is nobody's, and goes as such.
    before = packs(house.first)
    for night in (1, 5):
        house.first.plan_prune([], day(night), GRACE).apply()
    assert_holds(house.first, other, FIRST)
    assert len(packs(house.first)) < len(before)


def test_the_history_goes_over_with_one_look_at_either_side(house: House) -> None:
    files, nights = dict(FIRST), []
    for night in range(4):
        files[b"new-%d" % night] = noise(night + 10, 100_000)
        nights.append((house.night(files, night, house.first), dict(files)))
    copying = Copying(house.first, house.second)
    for snapshot, _ in nights:
        copying.bring(snapshot.id)
    for snapshot, held in nights:
        assert_holds(house.second, snapshot, held)
    assert packs(house.first) == packs(house.second)
    assert house.first.index_names() == house.second.index_names(), "nothing was named twice"


class Overtaken(Passing):
    """Just before a snapshot is put, `other` gets its turn."""

    def __init__(self, inner: Destination, other: Callable[[], object]) -> None:
        super().__init__(inner)
        self._other = other

    def put(self, name: str, data: Data) -> None:
        if name.startswith("snapshots/"):
            self._other()
        self._inner.put(name, data)


class Crowded(Passing):
    """Notes how many packs are put at once, and in which order what came to be there. After `most_packs` no more."""

    def __init__(self, inner: Destination, most_packs: int = 1000) -> None:
        super().__init__(inner)
        self._most_packs = most_packs
        self._lock = threading.Lock()
        self._now = self._begun = 0
        self.most, self.order, self.too_early = 0, list[str](), list[str]()

    def put(self, name: str, data: Data) -> None:
        pack = name.startswith("packs/")
        with self._lock:
            self._now += pack
            self._begun += pack
            self.most = max(self.most, self._now)
            if pack and self._begun > self._most_packs:
                raise Unavailable("the network is gone")
        if pack:
            time.sleep(0.05)
        self._inner.put(name, data)
        if name.startswith("index/"):
            seen = Repository.open(self._inner, keys().writer)
            there = seen.listed_packs()
            self.too_early += [each.name.hex() for each in seen.packs_of(name) if each.name not in there]
        with self._lock:
            self._now -= pack
            self.order.append(name.partition("/")[0])

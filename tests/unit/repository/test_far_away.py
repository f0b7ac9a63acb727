"""A repository that is far away: what is small is asked for together, and what is large in its turn."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tasks.destinations.destination import Destination, OnDisk
from tasks.repository import Repository, stored_index
from tests.passing_destination import Passing
from tests.repositories import keys, packs, restored
from tests.unit.repository.house import House, day, noise, opened


class Far(Passing):
    """Counts how many objects are asked for at the same time."""

    def __init__(self, inner: Destination) -> None:
        super().__init__(inner)
        self._lock, self._now = threading.Lock(), 0
        self.most, self.read = 0, list[str]()

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.read.append(name)
        time.sleep(0.02)
        with self._lock:
            self._now -= 1
        return self._inner.get(name, offset, length)


@pytest.fixture
def far(tmp_path: Path) -> Far:
    """With six nights, and an index object of each."""
    house = House(tmp_path)
    for night in range(6):
        house.night({b"%d" % night: noise(night, 100_000)}, night, house.first)
    return Far(house.first.destination)


def test_index_objects_and_snapshots_are_asked_for_together_and_once(far: Far) -> None:
    repository = opened(far, 7)
    far.read.clear()
    assert len(repository.sound_index().packs) == 12
    assert len([snapshot.id for snapshot in repository.readable_snapshots()]) == 6
    assert [snapshot.id for snapshot in repository.snapshots()] == repository.snapshot_ids()
    assert sorted(name for name in far.read if name.startswith("index/")) == repository.index_names()
    assert far.most == 6


class Spoiling(Passing):
    """Each part that comes from it for the first time has a flipped bit, at its byte `place` or its last one."""

    def __init__(self, inner: Destination, place: int) -> None:
        super().__init__(inner)
        self._place, self._lock, self.spoilt = place, threading.Lock(), set[tuple[str, int]]()

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        content = bytearray(self._inner.get(name, offset, length))
        with self._lock:
            if length and (name, offset) not in self.spoilt:
                self.spoilt.add((name, offset))
                content[min(self._place, length - 1)] ^= 4
        return bytes(content)


@pytest.mark.parametrize("place", [0, 10, 500], ids=["in its magic", "in what opens it", "in its content"])
def test_a_pack_that_is_damaged_on_its_way_is_read_again(far: Far, place: int) -> None:
    """Of a part, no service but one gives a checksum."""
    verified = Spoiling(far._inner, place)
    found = Repository.open(verified, keys().reader).check("content")
    assert found.good, found.damage
    way = Spoiling(far._inner, place)
    repository = Repository.open(way, keys().reader)
    for night, snapshot in enumerate(repository.snapshots()):
        assert restored(repository, snapshot) == {b"%d" % night: noise(night, 100_000)}
    assert {name for name, _ in verified.spoilt} == {name for name, _ in way.spoilt} == set(packs(repository))


def test_an_index_is_made_anew_of_packs_that_are_damaged_on_their_way(far: Far) -> None:
    for name in list(opened(far._inner, 7).index_names()):
        far._inner.delete(name)
    way = Spoiling(far._inner, 500)
    repository = Repository.open(way, keys().reader)
    assert repository.rebuild_index(day(7)) == len(packs(repository)) == 12
    assert Repository.open(far._inner, keys().reader).check("content").good


class Near(Far):
    def path_of(self, name: str) -> Path | None:
        assert isinstance(self._inner, OnDisk)
        return self._inner.path_of(name)


def test_index_objects_at_hand_are_read_in_their_turn(far: Far) -> None:
    near = Near(far._inner)
    repository = opened(near, 7)
    near.most = 0
    assert len(repository.sound_index().packs) == 12
    assert near.most == 1


def test_large_index_objects_are_held_one_at_a_time(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_index, "_SMALL_BYTES", 10)
    repository = opened(far, 7)
    assert len(repository.sound_index().packs) == 12
    assert far.most == 1

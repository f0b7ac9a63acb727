"""A repository that is far away: what is small is asked for together, and what is large in its turn."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tasks.destinations.destination import Destination, OnDisk
from tasks.repository import stored_index
from tests.passing_destination import Passing
from tests.unit.repository.house import House, noise, opened


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

"""Random weeks of two destinations: down for nights, pruned differently, damaged and verified; nothing kept is lost."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.errors import Condemned, Damaged, Unavailable
from tasks.repository import Repository, Snapshot
from tasks.repository.pack import object_name
from tests.repositories import restored
from tests.unit.repository.house import GRACE, Files, House, day, noise, opened


@dataclass
class Place:
    """A destination, what it must hold, and what waits for it."""

    repository: Repository
    kept: dict[str, Files] = field(default_factory=dict)
    waiting: list[tuple[Repository, Snapshot, Files]] = field(default_factory=list)

    def upload(self, night: int) -> None:
        """As the verb does it: oldest first, what is condemned is dropped, what is unavailable waits."""
        left = []
        for spooled, snapshot, files in self.waiting:
            spooled.clock = lambda: day(night)
            try:
                spooled.copy(snapshot.id, opened(self.repository.destination, night))
                self.kept[snapshot.id] = files
            except Condemned:
                continue
            except (Damaged, Unavailable):
                left.append((spooled, snapshot, files))
        self.waiting = left

    def prune(self, chance: random.Random, night: int) -> None:
        forget = [each for each in self.kept if chance.random() < 0.3]
        try:
            self.repository.plan_prune(forget, day(night), GRACE).apply()
        except Damaged:
            return
        for each in forget:
            del self.kept[each]

    def damage(self, chance: random.Random, night: int) -> None:
        """Packs rot; a verify finds and condemns them. What suffers need not be whole any more, until it is again."""
        for name in [listed.name for listed in self.repository.destination.list("packs/")]:
            if chance.random() > 0.3:
                continue
            data = bytearray(self.repository.destination.get(name))
            self.repository.destination.delete(name)
            kind = chance.randrange(3)
            if kind == 0:
                data[chance.randrange(len(data))] ^= 1
                self.repository.destination.put(name, data)
            elif kind == 1:
                self.repository.destination.put(name, data[:-1])
        report = self.repository.check("content")
        self.repository.condemn_damaged(report.damaged_packs, day(night))
        for each in list(self.kept):
            if f"snapshots/{each}" in {damage.name for damage in report.damage}:
                del self.kept[each]

    def assert_whole(self) -> None:
        for snapshot in self.repository.snapshots():
            if snapshot.id in self.kept:
                assert restored(self.repository, snapshot) == self.kept[snapshot.id]
        assert self.kept.keys() <= set(self.repository.snapshot_ids())
        hurt = {damage.name for damage in self.repository.check("content").damage}
        assert not hurt & {f"snapshots/{each}" for each in self.kept}


def run(house: House, seed: int) -> tuple[Place, Place]:
    chance = random.Random(seed)
    first, second = Place(house.first), Place(house.second)
    pool = [noise(at, chance.choice([10, 5000, 70_000, 200_000])) for at in range(10)]
    files: dict[bytes, bytes] = {}
    for night in range(14):
        for _ in range(chance.randrange(1, 4)):
            files[b"%d" % chance.randrange(6)] = chance.choice(pool)
        reference = house.second if chance.random() < 0.2 else house.first
        spooled, snapshot = house.capture(dict(files), night, reference)
        for place in (first, second):
            place.waiting.append((spooled, snapshot, dict(files)))
            if chance.random() < 0.7:
                place.upload(night)
            if chance.random() < 0.15:
                place.damage(chance, night)
            if chance.random() < 0.5:
                place.prune(chance, night)
            place.assert_whole()
    return first, second


@pytest.mark.parametrize("seed", range(10))
def test_two_destinations_keep_what_they_took(fast_path: Path, seed: int) -> None:
    house = House(fast_path)
    first, second = run(house, seed)
    # In the end both take a night again, whatever happened to them, once what was condemned is over.
    for place in (first, second):
        place.waiting.clear()
        for night in (20, 24, 28):
            place.repository.plan_prune(
                set(place.repository.snapshot_ids()) - set(place.kept), day(night), timedelta(days=1)
            ).apply()
    snapshot = house.night({b"last": noise(3, 200_000), b"0": noise(1, 90_000)}, 29, house.first, house.second)
    for place in (first, second):
        place.kept[snapshot.id] = {b"last": noise(3, 200_000), b"0": noise(1, 90_000)}
        place.assert_whole()
        assert all(
            object_name(pack) in {each.name for each in place.repository.destination.list("packs/")}
            for pack in map(bytes.fromhex, snapshot.packs)
        )

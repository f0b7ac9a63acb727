"""What the tests of pruning share: nights, a prune at a time, and destinations that are cut off."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from tasks.destinations import Data, Destination, Listed
from tasks.destinations.body import body_of
from tasks.errors import NoSpace
from tasks.repository import Repository, Snapshot
from tests.memory_source import File
from tests.repositories import START, restored

MIB = 1 << 20

DAY = timedelta(days=1)

GRACE = 3 * DAY
Files = Mapping[bytes, File | bytes]


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


FIRST = {b"a": noise(1, 300_000), b"b": noise(2, 200_000)}

SECOND = {b"a": noise(1, 300_000), b"c": noise(3, 200_000)}


def prune(
    repository: Repository, *forget: Snapshot, now: datetime = START, grace: timedelta = GRACE
) -> dict[str, float]:
    """At that time, which is the repository's own from then on."""
    repository.clock = lambda: now
    return repository.plan_prune([snapshot.id for snapshot in forget], now, grace).apply()


def condemned(repository: Repository) -> list[str]:
    return [listed.name for listed in repository.destination.list("condemned/")]


def assert_whole(repository: Repository, kept: Mapping[str, Files]) -> None:
    """The kept snapshots and no others are listed, and each is restored byte for byte."""
    report = repository.check("content")
    assert report.good, report.damage
    assert set(repository.snapshot_ids()) == set(kept)
    for snapshot in repository.snapshots():
        assert restored(repository, snapshot) == kept[snapshot.id]


class Cut(Exception):
    """Stands for a kill: nobody in between catches it."""


class Cutting:
    """A destination that is cut off right before its n-th operation of any kind."""

    def __init__(self, inner: Destination, number: int) -> None:
        self._inner, self.left = inner, number

    def put(self, name: str, data: Data) -> None:
        self._count()
        self._inner.put(name, data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self._count()
        return self._inner.get(name, offset, length)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        self._count()
        return self._inner.list(prefix)

    def delete(self, name: str) -> None:
        self._count()
        self._inner.delete(name)

    def _count(self) -> None:
        if not self.left:
            raise Cut
        self.left -= 1


class Failing(Cutting):
    """Cut off at the first put of a name with that prefix."""

    def __init__(self, inner: Destination, prefix: str) -> None:
        super().__init__(inner, -1)
        self._prefix = prefix

    def put(self, name: str, data: Data) -> None:
        if name.startswith(self._prefix):
            raise Cut
        super().put(name, data)


class Full(Cutting):
    """A disk with room for so many bytes in all."""

    def __init__(self, inner: Destination, room: int) -> None:
        super().__init__(inner, -1)
        self._all, self._room = inner, room

    def put(self, name: str, data: Data) -> None:
        with body_of(data) as body:
            if sum(listed.size for listed in self._all.list()) + len(body) > self._room:
                raise NoSpace(f"no room to store `{name}`")
        super().put(name, data)

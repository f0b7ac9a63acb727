"""Captures that are killed at any moment over a destination that fails: nothing is lost, and the next run goes on.

`GEOMETRA_CRASHES` says how many, 40 by default and 200 where CI=true.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tasks.destinations import Data, Destination, Local, Prefixed
from tasks.destinations.local import LocalSettings
from tasks.errors import BackupError
from tasks.repository import Repository, Snapshot
from tests.contracts.child import Child, begun
from tests.faulty_destination import Faults, FaultyDestination
from tests.memory_source import File, MemoryCapture
from tests.passing_destination import Passing
from tests.repositories import SOURCE, about, create, keys, local, restored

CRASHES = int(os.environ.get("GEOMETRA_CRASHES", "200" if os.environ.get("CI") == "true" else "40"))
EACH = 10
"""Crashes of one repository, one after the other: what one leaves, the next finds."""

TYPICAL_SECONDS = 0.05
"""What one capture takes on a machine of today, its own time to start not counted."""

POOL = [random.Random(at).randbytes(size) for at, size in enumerate([10, 3000, 70_000, 400_000, 1_500_000] * 4)]
TROUBLE = Faults(unavailable=0.01, lost_reply=0.02, no_space=0.01)


def state(series: int, night: int) -> dict[bytes, File | bytes]:
    """The source in that night: a little changed from the night before."""
    chance, files = random.Random(f"{series}"), {}
    for turn in range(night + 8):
        path = b"%d/%d" % (chance.randrange(4), chance.randrange(5))
        files[path] = chance.choice(POOL)
        if turn % 5 == 4:
            files.pop(chance.choice(sorted(files)))
    return dict(files)


class Fatal(Passing):
    """A destination whose user dies right before, or right after, the put of that number."""

    def __init__(self, inner: Destination, number: int, *, after: bool) -> None:
        super().__init__(inner)
        self._left, self._after = number, after
        self._lock = threading.Lock()

    def put(self, name: str, data: Data) -> None:
        with self._lock:
            self._left -= 1
            dies = self._left < 0
        if dies and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        self._inner.put(name, data)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)


def capture(destination: Destination, series: int, night: int) -> Snapshot:
    repository = Repository.open(destination, keys().writer)
    return repository.save(MemoryCapture(state(series, night)), about(night), destination)


def crash(folder: Path, number: int, series: int, night: int) -> None:
    """One capture in a process of its own, killed at a random moment or at a random put, over a destination that works
    or one that fails too."""
    chance = random.Random(number)
    at_a_put = number % 4 < 2

    def work() -> None:
        destination: Destination = Prefixed(Local(LocalSettings(path=folder)), SOURCE)
        if number % 2:
            destination = FaultyDestination(destination, number, TROUBLE)
        if at_a_put:
            destination = Fatal(destination, chance.randrange(6), after=chance.random() < 0.5)
        else:
            begun()
        with suppress(BackupError):
            capture(destination, series, night)

    child = Child(work)
    if at_a_put:
        with suppress(EOFError):
            child.result()
    else:
        child.kill_after(chance.random() * TYPICAL_SECONDS)


def assert_nothing_wrong(folder: Path, series: int, nights: dict[str, int], depth: str) -> None:
    repository = Repository.open(local(folder), keys().reader)
    report = repository.check("content" if depth == "content" else "items")
    assert report.good, report.damage
    for snapshot in repository.snapshots():
        assert restored(repository, snapshot) == state(series, nights[snapshot.id])


@pytest.mark.parametrize("series", range((CRASHES + EACH - 1) // EACH))
def test_a_killed_capture_loses_nothing_and_the_next_one_goes_on(fast_path: Path, series: int) -> None:
    create(local(fast_path))
    nights = {about(night).id: night for night in range(EACH + 1)}
    for night in range(EACH):
        crash(fast_path, series * EACH + night, series, night)
        assert_nothing_wrong(fast_path, series, nights, "items")
    last = capture(local(fast_path), series, EACH)
    assert_nothing_wrong(fast_path, series, nights, "content")
    repository = Repository.open(local(fast_path), keys().reader)
    assert last.id in repository.snapshot_ids()
    # What the killed ones left is collected in the end.
    now = last.started
    for _ in range(3):
        repository.plan_prune(set(repository.snapshot_ids()) - {last.id}, now, now - now).apply()
    assert repository.check("content").figures["orphan_packs"] == 0
    assert_nothing_wrong(fast_path, series, nights, "content")
    unfinished = fast_path / ".tmp"
    assert sum(1 for _ in unfinished.iterdir()) <= EACH if unfinished.exists() else True


def test_the_kills_come_at_every_stage(fast_path: Path) -> None:
    """The suite is worth nothing if every kill comes before the first byte or after the last."""
    create(local(fast_path))
    stages = set()
    for number in range(0, 40, 4):
        before = {listed.name for listed in local(fast_path).list()}
        crash(fast_path, number, 77, number)
        new = {listed.name for listed in local(fast_path).list()} - before
        stages.add(frozenset(name.partition("/")[0] for name in new))
    assert {frozenset(), frozenset({"packs"}), frozenset({"packs", "index"})} <= stages

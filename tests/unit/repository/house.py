"""A spool and two destinations, used as a night uses them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from tasks.destinations import Destination, Overlay
from tasks.repository import Repository, Snapshot
from tests.memory_source import File, MemoryCapture
from tests.repositories import START, about, create, keys, local, restored

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


def assert_holds(repository: Repository, snapshot: Snapshot, files: Files) -> None:
    assert repository.snapshot(snapshot.id) == snapshot
    assert restored(repository, snapshot) == files
    assert repository.check("content").good

"""A history of three nights to be damaged, copied for each test, and a stranger's to take objects from."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tasks.destinations import Destination
from tasks.errors import BackupError
from tasks.repository import CheckReport, Repository, Snapshot
from tests.memory_source import MemorySink, tree
from tests.repositories import START, create, keys, local, restored, save


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


KEPT = {b"a/kept": noise(1, 400_000), b"a/small": b"small", b"text": b"a line that repeats\n" * 9000}
NIGHTS = [
    tree({**KEPT, b"only first": noise(2, 150_000), b"grows": noise(5, 100_000)}),
    tree({**KEPT, b"only second": noise(3, 150_000), b"grows": noise(5, 170_000)}),
    tree({**KEPT, b"large": noise(4, 5_000_000), b"grows": noise(5, 240_000)}),
]


class History(NamedTuple):
    repository: Repository
    snapshots: list[Snapshot]

    @property
    def destination(self) -> Destination:
        return self.repository.destination

    def names(self, prefix: str) -> list[str]:
        return [listed.name for listed in self.destination.list(prefix)]

    def pack_of(self, night: int, kind: str) -> str:
        """The first pack of that kind that the night's run stored."""
        for pack in self.snapshots[night].packs:
            name = f"packs/{pack[:2]}/{pack}"
            if self.destination.get(name, 4, 1) == kind.encode():
                return name
        raise AssertionError("no such pack")

    def replace(self, name: str, data: bytes) -> None:
        self.destination.delete(name)
        self.destination.put(name, data)

    def alter(self, name: str, change: Callable[[bytearray], None]) -> None:
        data = bytearray(self.destination.get(name))
        change(data)
        self.replace(name, bytes(data))

    def reopened(self) -> Repository:
        return Repository.open(self.destination, keys().reader)

    def hurt(self, report: CheckReport) -> set[str]:
        """Of what a check names: the snapshots."""
        return {each.name.removeprefix("snapshots/") for each in report.damage if each.name.startswith("snapshots/")}

    def assert_never_wrong(self) -> CheckReport:
        """A full check; every snapshot that it does not name is restored, and of the others no wrong byte."""
        repository = self.reopened()
        report = repository.check("content")
        hurt = self.hurt(report)
        for night, snapshot in enumerate(self.snapshots):
            if snapshot.id not in repository.snapshot_ids():
                continue
            right = contents_of(night)
            if snapshot.id not in hurt:
                assert restored(repository, repository.snapshot(snapshot.id)) == right
                continue
            for path, content in what_comes(repository, snapshot).items():
                assert content == right[path]
        return report

    def next_night(self) -> Snapshot:
        """A capture of what the last night held, by the writer's key only."""
        return save(Repository.open(self.destination, keys().writer), NIGHTS[2], 9)


def contents_of(night: int) -> dict[bytes, bytes]:
    return {path: content for path, content in NIGHTS[night].items() if isinstance(content, bytes)}


def what_comes(repository: Repository, snapshot: Snapshot) -> dict[bytes, bytes]:
    """What a restore of a damaged snapshot gives, item by item, each whole or not at all."""
    found: dict[bytes, bytes] = {}
    try:
        items = repository.read(repository.snapshot(snapshot.id))
        for item in items:
            sink = MemorySink()
            try:
                items.extract([item], sink)
            except BackupError:
                continue
            found |= sink.contents
    except BackupError:
        return found
    return found


@cache
def _originals() -> tuple[Path, list[Snapshot]]:
    folder = Path(tempfile.mkdtemp(prefix="geometra-history-"))
    repository = create(local(folder / "ours"))
    snapshots = [save(repository, files, night) for night, files in enumerate(NIGHTS)]
    repository.plan_prune([], START, START - START).apply()
    # Damaged packs of long ago give the history lists of condemned packs.
    for pack in (b"long gone", b"gone too"):
        repository.condemn_damaged([pack.ljust(16)], START)
    stranger = create(local(folder / "theirs"), source="docs")
    save(stranger, {b"other": noise(9, 300_000)}, 7)
    stranger.condemn_damaged([b"another".ljust(16)], START)
    return folder, snapshots


def copied(to: Path) -> History:
    folder, snapshots = _originals()
    shutil.copytree(folder / "ours", to / "ours")
    return History(Repository.open(local(to / "ours"), keys().reader), snapshots)


def stranger() -> Destination:
    """A repository of the same source and keyring, with another history."""
    return local(_originals()[0] / "theirs")


def remove_originals() -> None:
    if _originals.cache_info().currsize:
        shutil.rmtree(_originals()[0])
        _originals.cache_clear()

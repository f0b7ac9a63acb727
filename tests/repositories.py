"""Repositories to try things on: one keyring for all tests, local destinations, and the round of save and restore."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tasks.destinations import Destination, Local, Prefixed
from tasks.destinations.local import LocalSettings
from tasks.repository import About, ReaderKey, Repository, Snapshot, WriterKey, create_keys, open_keys, snapshot_id
from tasks.repository.reading import Items
from tests.memory_source import File, MemoryCapture, MemorySink

SOURCE = "docs"
PASSPHRASE = "correct horse battery staple"
START = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)


class Keys(NamedTuple):
    document: bytes
    writer: WriterKey
    reader: ReaderKey
    sheet: str

    def put_into(self, folder: Path) -> None:
        """What a worker that backs up finds in its folder of keys."""
        (folder / "keyring.json").write_bytes(self.document)
        (folder / "writer.key").write_text(self.writer.to_text())


def new_keys() -> Keys:
    document, writer, sheet = create_keys(PASSPHRASE)
    return Keys(document, writer, open_keys(document, passphrase=PASSPHRASE), sheet)


@cache
def keys() -> Keys:
    """The same keyring for every test of a run: deriving a key from a passphrase is slow by design."""
    return new_keys()


@cache
def other_keys() -> Keys:
    return new_keys()


def local(folder: Path, source: str = SOURCE) -> Destination:
    """A folder of this disk as a destination, seen by one source; made if it is not there."""
    whole = Local(LocalSettings(path=folder))
    whole.prepare()
    return Prefixed(whole, source)


def create(destination: Destination, held: Keys | None = None, source: str = SOURCE) -> Repository:
    """A repository that is read and written with the private key."""
    held = held or keys()
    return Repository.create_or_open(destination, source, held.reader, held.document)


def about(night: int, **differing: object) -> About:
    """The run of that night."""
    started = START + timedelta(days=night)
    run = f"run-{night}"
    made = About(snapshot_id(SOURCE, run, started), SOURCE, "test", run, started)
    return replace(made, **differing)  # type: ignore[arg-type]  # any field


def save(
    repository: Repository,
    files: Mapping[bytes, File | bytes],
    night: int,
    *,
    into: Destination | None = None,
    before: Callable[[bytes], None] | None = None,
) -> Snapshot:
    capture = MemoryCapture(files, before=before)
    return repository.save(capture, about(night), into or repository.destination)


def restored(repository: Repository, snapshot: Snapshot) -> dict[bytes, bytes]:
    """All contents by path, by way of `extract`."""
    items, sink = repository.read(snapshot), MemorySink()
    items.extract(items, sink)
    return sink.contents


def read_through(items: Items, path: bytes, step: int = 1 << 20) -> bytes:
    """One item's content, by way of `open`."""
    (item,) = (each for each in items if each.entry.path == path)
    stream, found, buffer = items.open(item), bytearray(), memoryview(bytearray(step))
    while count := stream.readinto(buffer):
        found += buffer[:count]
    stream.close()
    return bytes(found)


def packs(repository: Repository) -> list[str]:
    return [listed.name for listed in repository.destination.list("packs/")]


def stored_bytes(destination: Destination) -> int:
    return sum(listed.size for listed in destination.list())

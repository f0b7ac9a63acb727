"""One object of a repository handed on to another: whole, under its own name, and never as the same file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from blake3 import blake3

from tasks.destinations.destination import Data, Destination, Lent, OnDisk
from tasks.destinations.file_errors import explained
from tasks.destinations.overlay import Overlay
from tasks.destinations.pouring import pour
from tasks.errors import Damaged, Exists, Missing, NewerFormat, NoSpace, Refused, Unavailable
from tasks.repository.index import IndexedPack
from tasks.repository.inventory import Inventory
from tasks.repository.pack import NAME, TRAILER, footer_of, footer_reach, object_name
from tasks.repository.packing import scratch_folder
from tasks.repository.sealing import unseal_stream


def list_snapshot(snapshot_id: str, here: Inventory, to: Inventory) -> None:
    """The snapshot itself, which makes it count. One that is there and damaged is replaced."""
    name = f"snapshots/{snapshot_id}"
    data = here.destination.get(name)
    with suppress(Exists):
        to.destination.put(name, data)
        return
    # Another host captured the same, and was faster: it counts as much as one that was listed from the start.
    try:
        to.snapshot(snapshot_id)
    except Damaged as damage:
        try:
            to.destination.delete(name)
        except Refused:
            raise damage from None
        to.destination.put(name, data)


class MayNotDelete(Exception):
    """What is there can't be replaced."""


def replace_pack(pack: IndexedPack, here: Inventory, to: Inventory, scratch: Path | None) -> bool:
    """False where it is not whole here either. Raises `MayNotDelete`."""
    name = object_name(pack.name)
    with ExitStack() as held:
        try:
            data = held.enter_context(_whole_pack(pack, here, scratch))
        except (Damaged, Missing):
            return False
        try:
            with suppress(Missing):
                to.destination.delete(name)
        except Refused as error:
            raise MayNotDelete from error
        with suppress(Exists):
            to.destination.put(name, data)
    return True


def is_durable(destination: Destination, name: str) -> bool:
    """Of an object that was listed. A file may be seen in a folder before that would survive a loss of power: putting
    it by its own name sees to that, and finds it there."""
    path = destination.path_of(name) if isinstance(destination, OnDisk) else None
    try:
        if path:
            destination.put(name, path)
    except Missing:
        return False
    except Exists:
        pass
    return True


def put_pack(pack: IndexedPack, here: Inventory, to: Inventory, scratch: Path | None) -> None:
    # Where it is there: sent by an earlier try. Its name is the hash of its footer, and an object is whole or absent.
    with _whole_pack(pack, here, scratch) as data, suppress(Exists):
        to.destination.put(object_name(pack.name), data)


@contextmanager
def landing(here: Inventory) -> Iterator[Path | None]:
    """A folder for packs that come from elsewhere; None where this host has no room for one, and they are held in
    memory: what is to be brought may be what fills it."""
    with ExitStack() as held:
        folder: Path | None = None
        with suppress(NoSpace, Refused, Unavailable):
            folder = held.enter_context(scratch_folder(here.place()))
        yield folder


@contextmanager
def _whole_pack(pack: IndexedPack, here: Inventory, scratch: Path | None) -> Iterator[Data]:
    """All of it, as far as that can be told without the private key. Raises `Damaged`, `Missing`."""
    name = object_name(pack.name)
    path = here.destination.path_of(name) if isinstance(here.destination, OnDisk) else None
    if path:
        _check(pack, _end_of(path, pack.size))
        # A file of the spool may become the other's own, for there it goes.
        yield path if isinstance(here.destination, Overlay) else Lent(path)
        return
    with ExitStack() as held:
        landed = scratch and _landed(pack, here, held.enter_context(_removed(scratch / pack.name.hex())))
        if landed:
            _check(pack, _end_of(landed, pack.size))
            yield landed
            return
        content = here.destination.get(name)
        _check(pack, memoryview(content) if len(content) == pack.size else memoryview(b""))
        yield content


def _landed(pack: IndexedPack, here: Inventory, path: Path) -> Path | None:
    """The pack in a new file, which may become the other's own; None where there is no room for it."""
    with suppress(NoSpace), explained("keep", path), open(path, "xb", opener=_private) as file:
        pour(here.destination, object_name(pack.name), file)
        return path
    path.unlink(missing_ok=True)
    return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _unfollowed(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


@contextmanager
def _removed(path: Path) -> Iterator[Path]:
    """Is not there afterwards."""
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _check(pack: IndexedPack, end: memoryview) -> None:
    """By its end, with the footer, or all of it; nothing if it has another size."""
    if blake3(footer_of(pack.name, end) if end else b"").digest(NAME) != pack.name:
        raise Damaged(
            f"`{object_name(pack.name)}` is not what was stored, so it is not handed on: run `verify` where it lies"
        )


def _end_of(path: Path, size: int) -> memoryview:
    """The end of a pack, with its footer; nothing if it has another size. Not by a map: what a disk can't read is an
    error then, and not the end of this process."""
    with explained("read", path), open(path, "rb", buffering=0, opener=_unfollowed) as file:
        number = file.fileno()
        if os.fstat(number).st_size != size:
            return memoryview(b"")
        reach = min(footer_reach(memoryview(os.pread(number, TRAILER, max(size - TRAILER, 0)))), size)
        return memoryview(os.pread(number, reach, size - reach))


def hand_on_index(origin: str, here: Inventory, to: Inventory) -> bool:
    """An index object as it is stored. False where it is damaged, and only a copy on this host tells what it said; and
    where what has its name over there is not the same."""
    try:
        data = here.destination.get(origin)
        unseal_stream(here.keys.metadata, origin, data)
    except (Damaged, NewerFormat):
        return False
    try:
        to.destination.put(origin, data)
    except Exists:
        with suppress(Damaged):
            return to.destination.get(origin) == data
        return False
    return True

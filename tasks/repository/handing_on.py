"""One object of a repository handed on to another: whole, under its own name, and never as the same file."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from tasks.destinations.destination import Data, Destination, Lent, OnDisk, whole
from tasks.destinations.file_errors import explained
from tasks.destinations.overlay import Overlay
from tasks.errors import Damaged, Exists, Missing, NewerFormat, Refused
from tasks.repository.index import IndexedPack
from tasks.repository.inventory import Inventory
from tasks.repository.pack import NAME, TRAILER, footer_of, footer_reach, object_name
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


def replace_pack(pack: IndexedPack, here: Inventory, to: Inventory) -> bool:
    """False where it is not whole here either. Raises `MayNotDelete`."""
    name = object_name(pack.name)
    try:
        data = _whole_pack(pack, here)
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


def put_pack(pack: IndexedPack, here: Inventory, to: Inventory) -> None:
    data = _whole_pack(pack, here)
    # Where it is there: sent by an earlier try. Its name is the hash of its footer, and an object is whole or absent.
    with suppress(Exists):
        to.destination.put(object_name(pack.name), data)


def _whole_pack(pack: IndexedPack, here: Inventory) -> Data:
    """All of it, as far as that can be told without the private key. Raises `Damaged`, `Missing`."""
    name = object_name(pack.name)
    data = whole(here.destination, name)
    if isinstance(data, Path):
        end = _end_of(data, pack.size)
        found = footer_of(pack.name, end) if end else b""
    else:
        found = footer_of(pack.name, memoryview(data)) if len(data) == pack.size else b""
    if blake3(found).digest(NAME) != pack.name:
        raise Damaged(f"`{name}` is not what was stored, so it is not handed on: run `verify` where it lies")
    # A file of the spool may become the other's own, for there it goes.
    return Lent(data) if isinstance(data, Path) and not isinstance(here.destination, Overlay) else data


def _end_of(path: Path, size: int) -> memoryview:
    """The end of a pack, with its footer; nothing if it has another size. Not by a map: what a disk can't read is an
    error then, and not the end of this process."""
    with explained("read", path), path.open("rb", buffering=0) as file:
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

"""Making another destination hold a snapshot: packs, their index, and then the snapshot. Needs no private key."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from tasks.destinations.destination import Data, whole
from tasks.destinations.file_errors import explained
from tasks.errors import Condemned, Damaged, Exists, Missing, Refused, Unavailable
from tasks.repository.blocks import Blocks
from tasks.repository.condemned import doomed_packs, doubts, lift
from tasks.repository.index import Index, IndexedPack
from tasks.repository.inventory import Inventory
from tasks.repository.numbers import numpy
from tasks.repository.pack import NAME, SealedPack, footer_of, object_name
from tasks.repository.packing import put_index
from tasks.repository.references import References


def copy(
    here: Inventory,
    snapshot_id: str,
    to: Inventory,
    progress: Callable[[dict[str, float]], None] | None = None,
) -> dict[str, float]:
    """Idempotent: what is there is not sent again. Returns `packs`, `sent_bytes`. What a verify found damaged over
    there is replaced as far as it is whole here. Raises `Condemned` where chunks are only in packs that a prune may
    delete soon: the source must be captured again. Raises `Damaged`, `Unavailable`."""
    name = f"snapshots/{snapshot_id}"
    if snapshot_id in to.snapshot_ids():
        return {"packs": 0, "sent_bytes": 0}
    snapshot = here.snapshot(snapshot_id)
    index = here.sound_index()
    references = References(Blocks(here.destination, index, here.keys)).follow([snapshot])
    if references.findings:
        raise Condemned(f"snapshot `{snapshot_id}` relies on chunks that were lost meanwhile; back up again")
    heal(here, to, index)
    doomed, left_before = doomed_packs(to.destination, to.keys, to.clock())
    there = to.sound_index(without=doomed)
    wanted, relied = _sort_out(index, there, references)
    objects = _index_objects(here, {index.pack(pack).origin for pack in wanted})
    total = sum(index.pack(pack).size for pack in wanted)
    sent = 0
    sizes = to.listed_packs()
    for pack in sorted(wanted):
        # What is listed was sent ahead of its index, perhaps by a capture that needed the room.
        if sizes.get(pack) != index.pack(pack).size:
            _put_pack(index.pack(pack), here, to)
        sent += index.pack(pack).size
        if progress:
            progress({"done_bytes": sent, "total_bytes": total, "items": 0})
    for origin, packs in objects.items():
        chosen = [pack for pack in packs if pack.name in wanted]
        if len(chosen) == len(packs):
            _put_same(to, origin, here.destination.get(origin))
        else:
            put_index(to.destination, to.keys, chosen)
    # The last look: whoever condemns a pack from now on, or comes to delete one that was condemned lately, will see
    # this snapshot.
    doomed, orphans = doomed_packs(to.destination, to.keys, to.clock())
    if doomed & (relied | wanted):
        raise Condemned(f"a prune condemned packs that snapshot `{snapshot_id}` relies on; prune, and back up again")
    if (orphans | left_before) & wanted or not to.listed_packs().keys() >= relied | wanted:
        # They have an index now, so that a prune that begins from now on leaves them alone.
        raise Unavailable(f"a prune may be deleting what an earlier copy of `{snapshot_id}` had left; try again")
    _put_same(to, name, here.destination.get(name))
    return {"packs": len(wanted), "sent_bytes": sent}


def _sort_out(index: Index, there: Index, references: References) -> tuple[set[bytes], set[bytes]]:
    """The packs to send, and those over there that the snapshot relies on."""
    rows = numpy.flatnonzero(references.used)
    elsewhere = there.rows(index.names(rows))
    missing = {index.packs[number].name for number in numpy.unique(index.packs_of(rows[elsewhere < 0]))}
    relied = {there.packs[number].name for number in numpy.unique(there.packs_of(elsewhere[elsewhere >= 0]))}
    return missing, relied


def _index_objects(here: Inventory, origins: Iterable[str]) -> dict[str, list[SealedPack]]:
    return {origin: here.index_object(origin) for origin in origins}


def heal(here: Inventory, to: Inventory, index: Index) -> int:
    """Replace packs that a verify found damaged at `to` by those that `index` names here, and also those of a wrong
    size. Returns how many."""
    healed = set()
    sizes = to.listed_packs()
    resized = {pack.name for pack in index.packs if sizes.get(pack.name, pack.size) != pack.size}
    for pack in doubts(to.destination, to.keys).damaged | resized:
        if pack not in index:
            continue
        try:
            data = _whole_pack(index.pack(pack), here)
        except (Damaged, Missing):
            continue
        try:
            with suppress(Missing):
                to.destination.delete(object_name(pack))
        except Refused:
            # A writer that may not delete: what was damaged is stored again under other names instead.
            break
        with suppress(Exists):
            to.destination.put(object_name(pack), data)
        healed.add(pack)
    if healed:
        lift(to.destination, to.keys, healed)
    return len(healed)


def _put_pack(pack: IndexedPack, here: Inventory, to: Inventory) -> None:
    data = _whole_pack(pack, here)
    # Where it is there: sent by an earlier try. Its name is the hash of its footer, and an object is whole or absent.
    with suppress(Exists):
        to.destination.put(object_name(pack.name), data)


def _whole_pack(pack: IndexedPack, here: Inventory) -> Data:
    """All of it, as far as that can be told without the private key. Raises `Damaged`, `Missing`."""
    name = object_name(pack.name)
    data = whole(here.destination, name)
    if isinstance(data, Path):
        with explained("read", data), data.open("rb") as file:
            if os.fstat(file.fileno()).st_size == pack.size:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
                    found = footer_of(pack.name, view)
            else:
                found = b""
    else:
        found = footer_of(pack.name, memoryview(data)) if len(data) == pack.size else b""
    if blake3(found).digest(NAME) != pack.name:
        raise Damaged(f"`{name}` is not what was stored, so it is not handed on: run `verify` where it lies")
    return data


def _put_same(to: Inventory, name: str, data: bytes) -> None:
    try:
        to.destination.put(name, data)
    except Exists:
        if to.destination.get(name) != data:
            raise Damaged(f"`{name}` is there already and is another object") from None

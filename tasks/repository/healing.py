"""What is damaged at one destination, replaced by what is whole at another."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from tasks.repository.condemned import doubts, lift
from tasks.repository.flights import fly
from tasks.repository.handing_on import MayNotDelete, landing, replace_pack
from tasks.repository.index import Index
from tasks.repository.inventory import Inventory
from tasks.repository.pack_check import Described, read_packs


def heal(here: Inventory, to: Inventory, index: Index, *, reading: bool = False) -> int:
    """Replace packs that a verify found damaged at `to` by those that `index` names here, and also those of a wrong
    size. Returns how many. `reading`: only by those that are read whole here first, which takes the private key; else
    some of what is in them may be damaged as well."""
    healed = set[bytes]()
    sizes = to.listed_packs()
    resized = {pack.name for pack in index.packs if sizes.get(pack.name, pack.size) != pack.size}
    wrong = sorted(pack for pack in doubts(to.destination, to.keys).damaged | resized if pack in index)
    if reading and wrong:
        wrong = sorted(set(wrong) - _damaged_too(here, index, wrong))

    def landed(pack: bytes, whole: bool) -> None:
        if whole:
            healed.add(pack)

    # By a writer that may not delete: what was damaged stays, and nothing new relies on it.
    with suppress(MayNotDelete), landing(here) as scratch:
        fly(lambda pack: replace_pack(index.pack(pack), here, to, scratch), wrong, landed)
    if healed:
        lift(to.destination, to.keys, healed)
    return len(healed)


def _damaged_too(here: Inventory, index: Index, packs: Iterable[bytes]) -> set[bytes]:
    """Raises `Missing` where a prune has put what an index object names into another one meanwhile."""
    wanted = {pack: index.pack(pack).origin for pack in packs}
    described = [
        Described.of(pack)
        for origin in sorted(set(wanted.values()))
        for pack in here.packs_of(origin)
        if wanted.get(pack.name) == origin
    ]
    return {name for name, _ in read_packs(here, described).damaged}

"""What is damaged at one destination, replaced by what is whole at another. Needs no private key."""

from __future__ import annotations

from contextlib import suppress

from tasks.repository.condemned import doubts, lift
from tasks.repository.flights import fly
from tasks.repository.handing_on import MayNotDelete, replace_pack
from tasks.repository.index import Index
from tasks.repository.inventory import Inventory


def heal(here: Inventory, to: Inventory, index: Index) -> int:
    """Replace packs that a verify found damaged at `to` by those that `index` names here, and also those of a wrong
    size. Returns how many."""
    healed = set[bytes]()
    sizes = to.listed_packs()
    resized = {pack.name for pack in index.packs if sizes.get(pack.name, pack.size) != pack.size}
    wrong = sorted(pack for pack in doubts(to.destination, to.keys).damaged | resized if pack in index)

    def landed(pack: bytes, whole: bool) -> None:
        if whole:
            healed.add(pack)

    # By a writer that may not delete: what was damaged stays, and nothing new relies on it.
    with suppress(MayNotDelete):
        fly(lambda pack: replace_pack(index.pack(pack), here, to), wrong, landed)
    if healed:
        lift(to.destination, to.keys, healed)
    return len(healed)

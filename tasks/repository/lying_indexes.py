"""Index objects that say of a pack what does not lie in it, where another says otherwise: the pack itself decides."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress

from tasks.errors import BackupError, Damaged, Missing, NewerFormat, Refused
from tasks.repository.inventory import Inventory
from tasks.repository.pack import object_name
from tasks.repository.pack_check import Described
from tasks.repository.reindexing import described_pack


def lying_indexes(repository: Inventory, contested: Collection[bytes], sizes: Mapping[bytes, int]) -> dict[str, str]:
    """By name, and what is wrong with each. `contested`: packs of which index objects say different things. Whoever has
    a writer's key can seal such a one, and what it names wrong is not found any more. A pack's name is the hash of its
    footer, which tells what is right; that of a content pack opens by the private key alone."""
    true, lying = dict[bytes, Described](), dict[str, str]()
    for name in contested & sizes.keys():
        with suppress(Damaged, Missing, NewerFormat, Refused):
            true[name] = Described.of(described_pack(repository, name, sizes[name]))
    for pack, origin in repository.stored_packs(dict[str, BackupError]()):
        if pack.name in true and Described.of(pack) != true[pack.name]:
            what = (
                f"says of `{object_name(pack.name)}` what does not lie in it, as only somebody with a `writer.key` can"
            )
            lying.setdefault(origin, f"{what} have made it: delete this object, or nothing of that pack is found")
    return lying

"""An index made anew from the footers of packs, for those that no readable index object names any more."""

from __future__ import annotations

from contextlib import suppress

from tasks.errors import Damaged, Locked, Missing, NewerFormat
from tasks.repository.inventory import Inventory
from tasks.repository.pack import PackCipher, SealedPack, footer_of, object_name
from tasks.repository.packing import put_index

_PACKS_AN_INDEX = 1024


def rebuild_index(repository: Inventory) -> int:
    """Needs the private key. Returns how many packs are indexed again; what can't be read of a damaged pack is left
    out. Index objects that can't be read are deleted once their packs are indexed anew."""
    repository.writer.as_reader()
    named, broken = set(), []
    for origin in repository.index_names():
        try:
            named |= {pack.name for pack in repository.packs_of(origin)}
        except (Damaged, NewerFormat):
            broken.append(origin)
    found: list[SealedPack] = []
    for pack in repository.listed_packs():
        if pack not in named:
            try:
                found.append(_read(repository, pack))
            except (Damaged, Missing, NewerFormat):
                continue
    for at in range(0, len(found), _PACKS_AN_INDEX):
        put_index(repository.destination, repository.keys, found[at : at + _PACKS_AN_INDEX])
    for origin in broken:
        with suppress(Locked):
            repository.destination.delete(origin)
    return len(found)


def _read(repository: Inventory, pack: bytes) -> SealedPack:
    data = repository.destination.get(object_name(pack))
    cipher = PackCipher(pack, data[:128], repository.keys)
    listed = cipher.open_footer(pack, footer_of(pack, memoryview(data)))
    return SealedPack(pack, cipher.kind, len(data), listed)

"""An index made anew for the packs that no sound index object names: from this host's copies, and packs' footers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from tasks.destinations.destination import reading_again
from tasks.errors import BackupError, Damaged, Missing, NewerFormat
from tasks.repository.flights import ahead
from tasks.repository.inventory import Inventory
from tasks.repository.pack import (
    LONGEST_HEADER,
    TRAILER,
    PackCipher,
    SealedPack,
    footer_of,
    footer_reach,
    header_size,
    object_name,
)
from tasks.repository.packing import put_indexes
from tasks.repository.stored_index import settled

_END_BYTES = 1 << 16
"""Of a pack, in which its footer lies but for that of very many small chunks."""


class _Found(NamedTuple):
    """Packs that sound index objects name, now or in a moment; the index objects that are not sound; and packs of which
    nothing tells what lies in them."""

    named: set[bytes]
    broken: list[str]
    unreadable: set[bytes]


def rebuild_index(repository: Inventory) -> tuple[int, set[bytes]]:
    """Needs the private key. How many packs are indexed again, and those of which nothing tells what lies in them, as
    their footers are damaged too. Only puts: the damaged index objects, whose packs others name from now on, are left
    to a prune."""
    repository.writer.as_reader()
    # Before the index: what a copy puts meanwhile gets its own.
    sizes = repository.listed_packs()
    found = settled(lambda: _look(repository), repository.source)
    before = len(found.named)
    put_indexes(repository.destination, repository.keys, _unnamed(repository, sizes, found))
    for origin in found.broken:
        repository.drop_copy(origin)
    return len(found.named) - before, found.unreadable


def _look(repository: Inventory) -> _Found:
    """As they are stored, whatever a copy says."""
    named, broken = dict[str, set[bytes]](), dict[str, BackupError]()
    for pack, origin in repository.stored_packs(broken):
        named.setdefault(origin, set()).add(pack.name)
    sound = (packs for origin, packs in named.items() if origin not in broken)
    return _Found(set[bytes]().union(*sound), list(broken), set[bytes]())


def _unnamed(repository: Inventory, sizes: dict[bytes, int], found: _Found) -> Iterator[SealedPack]:
    """The packs that are there and not named, which they are then, or else they are unreadable."""
    named = found.named
    for origin in found.broken:
        # A copy knows of packs whose footers are damaged as well.
        for pack in repository.packs_of(origin, strict=False):
            if pack.name in sizes and pack.name not in named:
                named.add(pack.name)
                yield pack

    def read(name: bytes) -> tuple[bytes, SealedPack | None]:
        try:
            describe = partial(described_pack, repository, name, sizes[name])
            return name, reading_again(repository.destination, object_name(name), describe)
        except Missing:
            return b"", None  # deleted by a prune since it was listed
        except (Damaged, NewerFormat):  # unlike a block's method, what says that it is newer is not sealed
            return name, None

    for name, described in ahead(read, sorted(sizes.keys() - named)):
        if described:
            named.add(name)
            yield described
        elif name:
            found.unreadable.add(name)


def described_pack(repository: Inventory, name: bytes, size: int) -> SealedPack:
    """A pack by its footer, and at the size that it had when it was stored."""
    destination, stored = repository.destination, object_name(name)
    cipher = PackCipher(name, destination.get(stored, 0, LONGEST_HEADER), repository.keys)
    start = max(size - _END_BYTES, 0)
    end = memoryview(destination.get(stored, start, size - start))
    reach = min(footer_reach(end[-TRAILER:]), size)
    if reach > len(end):
        end = memoryview(destination.get(stored, size - reach, reach))
    footer = footer_of(name, end)
    listed = cipher.open_footer(name, footer)
    blocks = sum(block.stored for block in listed.located(cipher.kind))
    return SealedPack(name, cipher.kind, header_size(cipher.kind) + blocks + len(footer) + TRAILER, listed)

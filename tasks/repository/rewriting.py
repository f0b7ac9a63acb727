"""What is still used of sparsely used packs, stored again in new ones."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress

from tasks.errors import NoSpace
from tasks.numbers import Numbers
from tasks.repository.block import Draft, Profile
from tasks.repository.blocks import Blocks
from tasks.repository.buffers import Buffers
from tasks.repository.compression import STRONG
from tasks.repository.index import Index
from tasks.repository.inventory import Inventory
from tasks.repository.pack import CONTENT, LISTS
from tasks.repository.packing import Packing, scratch_folder
from tasks.repository.records import names_in

Tell = Callable[[dict[str, float]], None]


def rewrite(
    repository: Inventory,
    index: Index,
    used: Numbers,
    packs: Collection[bytes],
    *,
    progress: Tell | None,
    undo: Callable[[Collection[bytes]], None],
) -> None:
    """`used`: a boolean for each row of the index. Raises `NoSpace` where there is no room for all of it, after it has
    had what was stored so far undone: it would take up what captures need."""
    buffers = Buffers(1)
    with scratch_folder(None) as scratch:
        packing = Packing(repository.destination, scratch, repository.keys, buffers)
        try:
            with packing:
                blocks = Blocks(repository.destination, index, repository.keys)
                _store(blocks, used, packs, buffers, packing=packing, progress=progress)
        except NoSpace:
            with suppress(NoSpace):
                undo(packing.packs)
            raise


def _store(
    blocks: Blocks,
    used: Numbers,
    packs: Collection[bytes],
    buffers: Buffers,
    *,
    packing: Packing,
    progress: Tell | None,
) -> None:
    index = blocks.index
    drafts = {
        CONTENT: Draft(CONTENT, Profile(every=4), buffers),
        LISTS: Draft(LISTS, Profile(STRONG), buffers),
    }
    for done, pack in enumerate(packs):
        draft = drafts[index.pack(pack).kind]
        for number, rows in index.used_blocks(pack, used):
            block = blocks.read(number)
            blocks.verify_rows(rows, block, number)
            _, starts, lengths = (column.tolist() for column in index.places(rows))
            for name, start, length in zip(names_in(index.names(rows)), starts, lengths, strict=True):
                draft.add(name, bytes(block[start : start + length]))
                if draft.size >= draft.target:
                    packing.submit(draft.take())
        if progress:
            progress({"done_bytes": done + 1, "total_bytes": len(packs), "items": done + 1})
    for draft in drafts.values():
        if draft.size:
            packing.submit(draft.take())
    packing.finish()

"""What stays in the place of packs that a prune deletes, read before they go."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from datetime import datetime

from tasks.errors import Damaged
from tasks.numbers import SLICE, Numbers, distinct, numpy
from tasks.repository.blocks import Blocks, Fetched
from tasks.repository.condemned import put_sentence
from tasks.repository.index import Index
from tasks.repository.inventory import Inventory

_RANGE = 4 << 20
"""Stored bytes of neighbouring blocks that are read together."""


def check_successors(
    repository: Inventory, index: Index, used: Numbers, leaving: Collection[bytes], *, now: datetime
) -> None:
    """Of each chunk that is needed and lies in a pack that is `leaving` as well as in another, read the other one:
    whoever writes may give any bytes any name, and what was written may have rotted since. `used`: a boolean for each
    row of the index. Needs the private key. Raises `NewerFormat`; `Damaged`, once nothing relies any more on what was
    found not to be what an index says."""
    unsound = _unsound(Blocks(repository.destination, index, repository.keys), used, leaving)
    if unsound:
        put_sentence(repository.destination, repository.keys, now, now, damaged=unsound)
        raise Damaged(
            f"nothing is pruned: what is to take the place of packs that would go is damaged ({min(unsound.values())});"
            " nothing relies on it any more: run `verify --everything`, then prune again"
        )


def _unsound(blocks: Blocks, used: Numbers, leaving: Collection[bytes]) -> dict[bytes, str]:
    """Packs, and what is wrong with each."""
    index, unsound = blocks.index, dict[bytes, str]()
    rows = _successors(index, used, leaving)
    block, *_ = index.places(rows)
    order = block.argsort(kind="stable")
    numbers, rows = distinct(block), rows[order]
    parts = numpy.split(rows, block[order].searchsorted(numbers[1:]))
    rows_of = dict(zip(numbers.tolist(), parts, strict=False))

    def check(number: int, fetched: Fetched | None) -> None:
        pack, *_ = index.block(number)
        try:
            data = blocks.decode(number, fetched or blocks.fetch(number, number))
            blocks.verify_rows(rows_of[number], data, number)
        except Damaged as error:
            unsound.setdefault(pack.name, str(error))

    for group in blocks.neighbours(list(rows_of), int, _RANGE):
        fetched = None
        with suppress(Damaged):  # of a pack that is cut short, the first ones may be there
            fetched = blocks.fetch(group[0], group[-1])
        for number in group:
            check(number, fetched)
    return unsound


def _successors(index: Index, used: Numbers, leaving: Collection[bytes]) -> Numbers:
    """The rows of chunks that are needed and lie in packs that are `leaving` as well."""
    leaves = numpy.array([pack.name in leaving for pack in index.packs], bool)
    found = [numpy.empty(0, numpy.int64)]
    for at in range(0, len(index) if leaves.any() else 0, SLICE):
        rows = numpy.arange(at, min(at + SLICE, len(index)))
        rows = rows[leaves[index.packs_of(rows)]]
        if len(rows):
            first = index.rows(index.names(rows))
            found.append(first[used[first]])
    return distinct(numpy.concatenate(found))

"""The free pages of an SQLite database: they hold what was deleted once, and nothing that SQLite ever looks at.

Chroma's queue of vectors is deleted row by row, so a good part of its database may be such pages. Layout:
https://www.sqlite.org/fileformat2.html#the_freelist
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from tasks.sources.chroma.records import NotWhole

_ENTRY = 4
_AT_ONCE = 256


def clear(database: Path) -> int:
    """Fill the free pages with zeros; how many bytes. For a database that nobody has open and that SQLite has checked.
    Raises `NotWhole`, before anything is changed, where the list of them is not as the header says."""
    with open(database, "r+b", buffering=0) as file:
        number = file.fileno()
        header = os.pread(number, 100, 0)
        size = int.from_bytes(header[16:18], "big")
        size = 1 << 16 if size == 1 else size
        last, trunk, count = struct.unpack(">3I", header[28:40])
        trunks: dict[int, int] = {}
        leaves: set[int] = set()
        while trunk and trunk <= last and len(trunks) <= count and trunk not in trunks:
            page = os.pread(number, size, (trunk - 1) * size)
            following, held = struct.unpack_from(">2I", page)
            if held > size // _ENTRY - 2:
                break
            trunks[trunk] = held
            leaves.update(struct.unpack_from(f">{held}I", page, 8))
            trunk = following
        free = leaves | trunks.keys()
        if trunk or len(free) != count or len(leaves) + len(trunks) != count or min(free, default=2) < 2:
            raise NotWhole(f"the list of free pages in `{database.name}` is damaged")
        for trunk, held in trunks.items():
            used = 8 + _ENTRY * held
            os.pwrite(number, bytes(size - used), (trunk - 1) * size + used)
        _clear(number, sorted(leaves), size)
    return len(free) * size


def _clear(number: int, pages: Iterable[int], size: int) -> None:
    zeros = bytes(_AT_ONCE * size)
    for _, run in groupby(enumerate(pages), key=lambda pair: pair[1] - pair[0]):
        found = [page for _, page in run]
        for start in range(0, len(found), _AT_ONCE):
            some = found[start : start + _AT_ONCE]
            os.pwrite(number, zeros[: len(some) * size], (some[0] - 1) * size)

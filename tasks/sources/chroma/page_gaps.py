"""The gaps within an SQLite database's pages, between a page's list of cells and the cells. Where a page was split or
emptied they hold what lay there before, which SQLite never looks at and nothing compresses away: a copy of rows that
are elsewhere by now, or gone. Layout: https://www.sqlite.org/fileformat2.html#b_tree_pages
"""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from tasks.sources.chroma.records import NotWhole

_HEADER = 100
"""Bytes of the file's own header, at the start of its first page."""

_INTERIOR, _LEAVES = (2, 5), (10, 13)
_FIELDS = struct.Struct(">BHHHB")
_CHILD = struct.Struct(">I")


class _Page(NamedTuple):
    """Where its gap begins and ends, and the pages below it."""

    start: int
    end: int
    children: tuple[int, ...]


def clear_gaps(database: Path) -> int:
    """Fill the gaps with zeros; how many bytes were none. For a database that nobody has open and that SQLite has
    checked: a page that is not as it must be stays as it is. Raises `NotWhole` where SQLite can't read its schema."""
    cleared = 0
    with open(database, "r+b", buffering=0) as file:
        number = file.fileno()
        size = int.from_bytes(os.pread(number, 2, 16), "big")
        size = 1 << 16 if size == 1 else size
        level, seen = {1, *_roots(database)}, set[int]()
        # Level by level, so that what is most of the file, the leaves, is read from its start to its end.
        while level:
            seen |= level
            below: set[int] = set()
            for at in sorted(level):
                content = os.pread(number, size, (at - 1) * size)
                page = _parsed(content, size, _HEADER if at == 1 else 0)
                if page is None:
                    continue
                below.update(page.children)
                gap = page.end - page.start
                if used := gap - content.count(0, page.start, page.end):
                    os.pwrite(number, bytes(gap), (at - 1) * size + page.start)
                    cleared += used
            level = below - seen - {0}
    return cleared


def _roots(database: Path) -> list[int]:
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return [page for (page,) in connection.execute("SELECT rootpage FROM sqlite_master WHERE rootpage > 0")]
    except sqlite3.Error as error:
        raise NotWhole(f"`{database.name}` can't be read: {error}") from error


def _parsed(content: bytes, size: int, at: int) -> _Page | None:
    """Of a page whose header is `at` this offset; None for what is no page of a table or an index."""
    if len(content) != size:
        return None
    kind, _, cells, end, _ = _FIELDS.unpack_from(content, at)
    interior = kind in _INTERIOR
    first = at + (12 if interior else 8)
    start, end = first + 2 * cells, end or 1 << 16
    if not (interior or kind in _LEAVES) or not start <= end <= size:
        return None
    places = struct.unpack_from(f">{cells}H", content, first)
    if min(places, default=end) < end or max(places, default=0) > size - _CHILD.size:
        return None
    if not interior:
        return _Page(start, end, ())
    below = [_CHILD.unpack_from(content, place)[0] for place in places]
    return _Page(start, end, (*below, _CHILD.unpack_from(content, at + 8)[0]))

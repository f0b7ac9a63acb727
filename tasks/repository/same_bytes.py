"""Whether what is in an item's place holds its bytes already: the names of its chunks tell, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, suppress

from tasks.errors import Damaged, NewerFormat
from tasks.item import InPlace, KeepingSink, Stored
from tasks.repository.blocks import Blocks
from tasks.repository.pack import NAME

_AT_ONCE = 4 << 20
"""Bytes that are read at once: more than any chunk has."""


class SameBytes:
    """Used by one thread."""

    def __init__(self, blocks: Blocks, into: KeepingSink) -> None:
        self._index, self._naming, self._into = blocks.index, blocks.naming(), into
        self._buffer = memoryview(b"")

    def keeps(self, item: Stored, lists: Iterable[bytes]) -> bool:
        """Whether the sink has it, and was told so. `lists`: the names of its chunks, joined, part by part."""
        there = self._into.there(item)
        if there is None:
            return False
        with closing(there):
            same = False
            # Whoever restores the item then meets what is damaged too, and has no need of a file that can't be read.
            with suppress(Damaged, NewerFormat, OSError):
                same = self._is_in(there, item, lists) and there.stayed()
        if same:
            self._into.kept(item)
        return same

    def _is_in(self, file: InPlace, item: Stored, lists: Iterable[bytes]) -> bool:
        left = item.entry.content_size
        for names in lists:
            if len(names) % NAME:
                return False
            lengths = self._lengths(names, left)
            for first, last in _runs(lengths):
                size = sum(lengths[first:last])
                if size > min(left, _AT_ONCE):  # no chunk is so long, whatever the list says
                    return False
                left -= size
                data = self._read(file, size)
                if data is None or self._named(data, lengths[first:last]) != names[first * NAME : last * NAME]:
                    return False
        return not left

    def _lengths(self, names: bytes, left: int) -> list[int]:
        """Of the chunks. Raises `Damaged`."""
        if len(names) == NAME:
            return [left]
        rows = self._index.rows(names)
        if rows.min() < 0:
            raise Damaged("a chunk is in no pack that an index names")
        lengths: list[int] = self._index.places(rows)[2].tolist()
        return lengths

    def _read(self, file: InPlace, size: int) -> memoryview | None:
        """The next bytes of it; None where it has not so many."""
        self._buffer = self._buffer or memoryview(bytearray(_AT_ONCE))
        data = rest = self._buffer[:size]
        while rest:
            count = file.readinto(rest)
            if not count:
                return None
            rest = rest[count:]
        return data

    def _named(self, data: memoryview, lengths: list[int]) -> bytes:
        spans, start = [], 0
        for length in lengths:
            spans.append((start, start + length))
            start += length
        return self._naming.spans(data, spans)


def _runs(lengths: list[int]) -> Iterator[tuple[int, int]]:
    """Those that are read at once, from and to."""
    first = size = 0
    for at, length in enumerate(lengths):
        if size + length > _AT_ONCE and at > first:
            yield first, at
            first, size = at, 0
        size += length
    if first < len(lengths):
        yield first, len(lengths)

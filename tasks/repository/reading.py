"""A snapshot's items, read back: listed, one stream at a time, or many at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Set
from functools import cached_property

from tasks.errors import Damaged
from tasks.item import FILE, KeepingSink, Reading, Sink, Stored, order
from tasks.repository import records
from tasks.repository.blocks import Blocks, columns_of, shown
from tasks.repository.columns import Columns, join
from tasks.repository.content_stream import ContentStream
from tasks.repository.extraction import Extraction
from tasks.repository.gathering import Gathering
from tasks.repository.lists import Found, Lists
from tasks.repository.pack import NAME
from tasks.repository.records import Group, names_in
from tasks.repository.same_bytes import SameBytes
from tasks.repository.whereabouts import Whereabouts

_ITEM_LIST = "the item list"
_NO_RECORD = "the item list holds something that is no record"
_NO_ORDER = "the item list is not in order: no capture of this program made it"

_SURELY_HELD = 1 << 20
"""Names of groups that may be held, whatever the index lacks."""


class Items:
    """A snapshot's items: `StoredItems` of tasks/item.py. Iterating needs a writer's key, contents the private key."""

    def __init__(
        self, blocks: Blocks, level: int, content: bytes, lost: Callable[[Damaged], None] | None = None
    ) -> None:
        """`lost` hears of each stretch of the list that can't be read, where these items are all others."""
        self._blocks, self._level, self._content, self._lost = blocks, level, content, lost
        self._lists = Lists(blocks)

    def as_far_as_listed(self, lost: Callable[[Damaged], None]) -> Items:
        """The same, without those that a damaged stretch of the list names."""
        return Items(self._blocks, self._level, self._content, lost)

    def __iter__(self) -> Iterator[Stored]:
        for group in self.groups():
            yield from group.items

    def since(self, path: bytes) -> Iterator[Stored]:
        """From some item at or before `path` on, without reading those far before it."""
        for group in self.groups(path):
            yield from group.items

    def below(self, paths: Collection[bytes]) -> Iterator[Stored]:
        """All at or below these paths, and some near them, without reading those that are far from them."""
        for names in self._whereabouts.below(paths):
            for group in self._read_groups(names):
                yield from group.items

    def apart(self, other: Items) -> tuple[Iterator[Stored], Iterator[Stored]]:
        """What each of two lists has that the other has not, and some of what both have: without the groups that are
        in both, which are not read. A night's list has nearly all of them in common with the last one's."""
        mine, others = self._group_names(), other._group_names()
        return self._without(others), other._without(mine)

    def _group_names(self) -> set[bytes]:
        return {name for names in self._leaves() for name in names_in(names)}

    def _without(self, left_out: Set[bytes]) -> Iterator[Stored]:
        for names in self._leaves():
            for group in self._read_groups(b"".join(name for name in names_in(names) if name not in left_out)):
                yield from group.items

    def groups(self, path: bytes = b"") -> Iterator[Group]:
        """The same, as they are stored together. Raises `Damaged` where they are out of order: nodes that name one
        another a thousand times take a kilobyte, and what they list would never end."""
        reached: bytes | None = None
        for names in [self._whereabouts.since(path)] if path else self._leaves():
            for group in self._read_groups(names):
                if group.items:
                    if reached is not None and order(group.items[0].entry.path) <= reached:
                        raise Damaged(_NO_ORDER)
                    reached = order(group.items[-1].entry.path)
                yield group

    def _leaves(self, *, go_on: bool = False) -> Iterator[bytes]:
        # In order, none comes twice: so there are no more of them than chunks.
        left, go_on = max(len(self._blocks.index), _SURELY_HELD), go_on or self._lost is not None
        for names in self._lists.leaves(self._level, self._content, _ITEM_LIST, go_on=go_on):
            left -= len(names) // NAME
            if left < 0:
                raise Damaged(_NO_ORDER)
            yield names

    def _read_groups(self, names: bytes) -> Iterator[Group]:
        for name, found in zip(names_in(names), self._lists.find(names, _ITEM_LIST), strict=True):
            try:
                group = _group(name, found)
            except Damaged as error:
                if self._lost is None:
                    raise
                self._lost(error)
            else:
                yield group

    @cached_property
    def _whereabouts(self) -> Whereabouts:
        return Whereabouts(b"".join(self._leaves(go_on=True)), self._first_path)

    def _first_path(self, name: bytes) -> bytes:
        """Of a group."""
        (chunk,) = self._lists.chunks(name, _ITEM_LIST)
        try:
            for item in records.decode(chunk):
                return item.entry.path
        except ValueError as error:
            raise Damaged(_NO_RECORD) from error
        raise Damaged(_NO_RECORD)

    def list_chunks(self, names: bytes) -> Iterator[bytes]:
        return self._lists.chunks(names, "a list of chunks")

    def lists(self, level: int, content: bytes, what: str) -> Iterator[bytes]:
        """The chunk names of a stream, joined, part by part."""
        return self._lists.leaves(level, content, what)

    def open(self, item: Stored) -> ContentStream | RowStream:
        """The item's bytes in order."""
        stream = ContentStream(self._blocks, self.lists(item.level, item.content, shown(item)), item)
        return RowStream(stream, columns_of(item)) if item.columns else stream

    def extract(self, items: Iterable[Stored], into: Sink) -> None:
        same = SameBytes(self._blocks, into) if isinstance(into, KeepingSink) and into.may_keep else None
        with Extraction(self._blocks, into) as extraction, Gathering(self._blocks, into) as gathering:
            for item in items:
                if item.entry.type != FILE:
                    continue
                if same and not item.columns and same.keeps(item, self.lists(item.level, item.content, shown(item))):
                    continue
                if item.columns:
                    gathering.add(item, self.lists(item.level, item.content, shown(item)))
                elif item.level:
                    extraction.add(item, self.lists(item.level, item.content, shown(item)))
                else:
                    extraction.add(item)


def _group(name: bytes, found: Found) -> Group:
    """Raises `Damaged`, `NewerFormat`."""
    if not isinstance(found, bytes):
        raise found
    try:
        return Group(name, len(found), list(records.decode(found)))
    except ValueError as error:
        raise Damaged(_NO_RECORD) from error


class RowStream:
    """The rows of an item whose columns are stored apart."""

    def __init__(self, stored: ContentStream, columns: Columns) -> None:
        self._stored, self._columns = stored, columns
        self._windows = columns.windows()
        self._rest = memoryview(b"")

    def readinto(self, buffer: memoryview, /) -> int:
        if not self._rest:
            window = next(self._windows, None)
            if window is None:
                return self._stored.readinto(buffer)
            self._rest = join(self._window(window[1] - window[0]), self._columns.widths)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _window(self, size: int) -> bytearray:
        stored = bytearray(size)
        left = memoryview(stored)
        while left:
            count = self._stored.readinto(left)
            if not count:
                raise Damaged("a stream of rows ends within one")
            left = left[count:]
        return stored

    def close(self) -> Reading:
        return self._stored.close()

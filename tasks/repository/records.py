"""Items as bytes: records, groups of records, and long lists of chunk names. FORMAT.md, *Items*."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgpack

from tasks.content_digest import SIZE as DIGEST
from tasks.errors import BackupError, NewerFormat
from tasks.item import Entry, Stored
from tasks.repository.pack import NAME

_GROUP_LEAST, _GROUP_MASK, _GROUP_MOST, _GROUP_BYTES = 8, 7, 512, 1 << 20
GREATEST_RECORD = 32 << 20


class Nodes:
    """The size of a list's nodes: one ends after a name whose last byte is 0 mod `least` (a power of two) if it has at
    least so many names, or at `most`."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most, self.mask = least, most, least - 1
        self.last_bytes = re.compile(b"[%s]" % re.escape(bytes(range(0, 256, least))))


NODES = Nodes(64, 1024)
FINE_NODES = Nodes(8, 128)
"""For chunks of 1 KiB: where one in twenty has changed, so has every longer node, and lists cost what data does."""

_COLUMNS = 1
"""The first of what a record says of its content's order: FORMAT.md, *Columns*."""

_SHAPE = (bytes, str, int, int, int, str, str, int, int, int, int, str, int, bytes)
"""Of a record, but for what is rare. Whoever has a writer's key may put anything there."""
_DEEPEST = 16
"""Level of a stream's list: each names at least eight times as much as the one below."""

_TEXT = "surrogateescape"
_pack = msgpack.Packer(autoreset=True, unicode_errors=_TEXT).pack
_new = tuple.__new__


def encode(item: Stored) -> bytes:
    """One record."""
    entry, level, content, columns = item
    path, kind, mode, uid, gid, user, group, mtime, size, version, link, device, xattrs, extents, cut, digest = entry
    rare: dict[str, Any] | None = None
    if link or device or xattrs or extents is not None or columns:
        rare = {
            key: value
            for key, value in (
                ("l", link),
                ("d", device),
                ("x", xattrs),
                ("e", extents),
                ("h", digest),
                ("T", (_COLUMNS, *columns) if columns else ()),
            )
            if value or (key == "e" and value is not None)
        }
    elif digest:
        rare = {"h": digest}
    first, second = version
    return bytes(
        _pack((path, kind, mode, uid, gid, user, group, mtime, size, first, second, cut, level, content, rare))
    )


def decode(group: bytes | memoryview) -> Iterator[Stored]:
    """The records of a group. Raises `ValueError` where the bytes are none."""
    try:
        for record in _unpacked(group):
            path, kind, mode, uid, gid, user, owner, mtime, size, first, second, cut, level, content, rare = record
            if not (path.__class__ is content.__class__ is bytes and level.__class__ is int and 0 <= level <= _DEEPEST):
                raise ValueError("no records")
            digest, link, dev, xattrs, extents = b"", b"", 0, (), None
            columns: tuple[int, ...] = ()
            if rare:
                digest = rare.get("h", b"")
                if len(digest) != DIGEST:
                    digest = b""
                if not digest or len(rare) > 1:
                    get = rare.get
                    link, dev, xattrs, extents = get("l", b""), get("d", 0), get("x", ()), get("e")
                    columns = _columns(path, rare)
            # A million times: what a named tuple's own constructor does, without its sixteen arguments.
            stamp = first, second
            entry = path, kind, mode, uid, gid, user, owner, mtime, size, stamp, link, dev, xattrs, extents, cut, digest
            yield _new(Stored, (_new(Entry, entry), level, content, columns))
    except (TypeError, AttributeError, msgpack.exceptions.UnpackException) as error:
        raise ValueError("no records") from error


def contents(group: bytes | memoryview) -> Iterator[tuple[int, bytes]]:
    """Of the records of a group no more than level and content. Raises as `decode` does."""
    try:
        for record in _unpacked(group):
            *given, rare = record
            if tuple(map(type, given)) != _SHAPE or not 0 <= given[-2] <= _DEEPEST:
                raise ValueError("no records")
            path, level, content = given[0], given[-2], given[-1]
            if rare and (len(rare) > 1 or "h" not in rare):
                _columns(path, rare)
            yield level, content
    except (TypeError, AttributeError, msgpack.exceptions.UnpackException) as error:
        raise ValueError("no records") from error


def _unpacked(group: bytes | memoryview) -> Iterator[tuple[Any, ...]]:
    """Raises `ValueError` for more than any group has."""
    if len(group) > GREATEST_RECORD + _GROUP_BYTES:
        raise ValueError("no records")
    # Of one byte, a map takes seventy of memory. Few bytes can't hold too many.
    hook = _Maps() if len(group) > 2 * _GROUP_BYTES else None
    unpacker = msgpack.Unpacker(max_buffer_size=0, use_list=False, unicode_errors=_TEXT, object_hook=hook)
    unpacker.feed(group)
    return iter(unpacker)


class _Maps:
    """Counts them: a record has one at most."""

    def __init__(self) -> None:
        self._left = _GROUP_MOST

    def __call__(self, found: dict[str, Any]) -> dict[str, Any]:
        self._left -= 1
        if self._left < 0:
            raise ValueError("no records")
        return found


def _columns(path: bytes, rare: dict[str, Any]) -> tuple[int, ...]:
    """Raises `NewerFormat` where the content is to be read in a way that is not known here, `ValueError` where what is
    rare is not what it has to be."""
    kind, *parts = rare.get("T", (_COLUMNS,))
    if kind != _COLUMNS or any(key.isupper() and key != "T" for key in rare):
        raise NewerFormat(f"{path!r} is stored in a way that this version can't read: use a newer one")
    if (
        rare.get("l", b"").__class__ is not bytes
        or rare.get("d", 0).__class__ is not int
        or any(tuple(map(type, pair)) != (bytes, bytes) for pair in rare.get("x", ()))
        or any(tuple(map(type, pair)) != (int, int) for pair in rare.get("e", ()))
    ):
        raise ValueError("no records")
    return tuple(parts)


class Group(NamedTuple):
    """Items that are stored together: the name of their chunk, and the size of it."""

    name: bytes
    size: int
    items: list[Stored]


class Grouper:
    """Cuts the sorted records into groups, at places that depend on paths alone: a changed file changes one group, and
    one that is new or gone the few until both lists are cut at the same place again."""

    def __init__(self, keep: Callable[[bytes], bytes], has: Callable[[bytes], bool] = lambda name: False) -> None:
        """`keep` stores a group as a chunk and returns its name; `has` says whether there is a chunk of that name."""
        self._keep, self._has = keep, has
        self._records: list[bytes] = []
        self._size = 0
        self._group, self._taken = Group(b"", 0, []), 0
        self.names = NameList(keep)

    def add(self, item: Stored) -> None:
        self._encode_taken()
        self._add(item)

    def add_again(self, group: Group, at: int, count: int) -> None:
        """So many items from `at` on of a group of an earlier list. A group all of which comes again is not encoded
        again."""
        if at == self._taken and not self._records and (not at or group is self._group):
            self._group, self._taken = group, at + count
            if self._taken == len(group.items) and _is_full(group.items[-1], self._taken, group.size):
                self._take_over()
            return
        self._encode_taken()
        for item in group.items[at : at + count]:
            self._add(item)

    def _take_over(self) -> None:
        if self._has(self._group.name):
            self.names.add(self._group.name)
            self._taken = 0
        else:
            self._encode_taken()

    def _encode_taken(self) -> None:
        """What was begun to be taken over is not a whole group any more."""
        taken, self._taken = self._group.items[: self._taken], 0
        for item in taken:
            self._add(item)

    def _add(self, item: Stored) -> None:
        record = encode(item)
        if len(record) > GREATEST_RECORD:
            raise BackupError(f"{item.entry.path!r} has {len(record)} bytes of attributes and extents: leave it out")
        self._records.append(record)
        self._size += len(record)
        if _is_full(item, len(self._records), self._size):
            self._close()

    def finish(self) -> tuple[int, bytes]:
        """Level and content of the whole item list."""
        if self._taken == len(self._group.items):
            self._take_over()
        self._encode_taken()
        if self._records:
            self._close()
        return self.names.finish()

    def _close(self) -> None:
        self.names.add(self._keep(b"".join(self._records)))
        self._records.clear()
        self._size = 0


def _is_full(last: Stored, count: int, size: int) -> bool:
    """Whether a group of so many records and bytes ends with this item. By paths alone, groups would be as long, and
    what has changed would be in one of twice that: with a least length it is in one of about 20."""
    if count >= _GROUP_MOST or size >= _GROUP_BYTES:
        return True
    return count >= _GROUP_LEAST and not zlib.crc32(last.entry.path) & _GROUP_MASK


class NameList:
    """A list of chunk names on its way into nodes: as many levels as it takes until no node was cut at one."""

    def __init__(self, keep: Callable[[bytes], bytes], nodes: Nodes = NODES) -> None:
        self._keep, self._nodes = keep, nodes
        self._levels: list[bytearray] = [bytearray()]

    def add(self, name: bytes, level: int = 0) -> None:
        names = self._levels[level]
        names += name
        count = len(names) // NAME
        nodes = self._nodes
        if count >= nodes.most or (count >= nodes.least and not name[-1] & nodes.mask):
            self._close(level)

    def extend(self, joined: bytes) -> None:
        """Add many names, joined, with the same nodes as if they came one by one."""
        nodes, last = self._nodes, joined[NAME - 1 :: NAME]
        at, total, level = 0, len(last), self._levels[0]
        while at < total:
            room = nodes.most - len(level) // NAME
            least = max(nodes.least - len(level) // NAME, 1)
            cut = nodes.last_bytes.search(last, at + least - 1, at + room)
            end = min(cut.end() if cut else at + room, total)
            level += joined[at * NAME : end * NAME]
            if cut or end == at + room:
                self._close(0)
            at = end

    def finish(self) -> tuple[int, bytes]:
        """Level and content of the list."""
        level = 0
        while level + 1 < len(self._levels):
            if self._levels[level]:
                self._close(level)
            level += 1
        return level, bytes(self._levels[level])

    def _close(self, level: int) -> None:
        if level + 1 == len(self._levels):
            self._levels.append(bytearray())
        node = bytes(self._levels[level])
        self._levels[level].clear()
        self.add(self._keep(node), level + 1)


def names_in(content: bytes) -> Iterator[bytes]:
    for at in range(0, len(content), NAME):
        yield content[at : at + NAME]

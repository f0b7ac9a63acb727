"""A repository in memory: stores a capture as the real one does, and hands it back from several threads at once."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from tasks.content_digest import content_digest
from tasks.errors import BackupError, Damaged
from tasks.item import FILE, Flaw, Item, Reading, Sink, Stored, Stream, Unreadable, Vanished
from tasks.sources.source import Capture


class MemoryItems:
    """`StoredItems` whose bytes lie in `Stored.content`."""

    def __init__(self, items: Iterable[Stored]) -> None:
        self._items = list(items)

    def __iter__(self) -> Iterator[Stored]:
        return iter(self._items)

    def __getitem__(self, path: bytes) -> Stored:
        return next(item for item in self._items if item.entry.path == path)

    def open(self, item: Stored) -> Stream:
        return _MemoryStream(item)

    def extract(self, items: Iterable[Stored], into: Sink) -> None:
        """In pieces, in no order, the pieces of one item from several threads."""
        chosen = [item for item in items if item.entry.type == FILE]
        dice = random.Random(7)
        pieces = [(item, start, end) for item in chosen for start, end in _cut(len(item.content), dice)]
        dice.shuffle(pieces)

        def write(piece: tuple[Stored, int, int]) -> None:
            item, start, end = piece
            into.write(item, start, memoryview(item.content)[start:end])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, pieces))
            list(pool.map(into.complete, chosen))


class Rotten(MemoryItems):
    """Of which those at `paths` are damaged after so many bytes."""

    def __init__(self, items: Iterable[Stored], *paths: bytes, after: int = 50) -> None:
        super().__init__(items)
        self._paths, self._after = paths, after

    def open(self, item: Stored) -> Stream:
        stream = super().open(item)
        return _RottenStream(stream, self._after) if item.entry.path in self._paths else stream


class _RottenStream:
    def __init__(self, inner: Stream, whole: int) -> None:
        self._inner, self._left = inner, whole

    def readinto(self, buffer: memoryview, /) -> int:
        if not self._left:
            raise Damaged("a block is rotten")
        count = self._inner.readinto(buffer[: self._left])
        self._left -= count
        return count

    def close(self) -> Reading:
        return self._inner.close()


class _MemoryStream:
    def __init__(self, item: Stored) -> None:
        self._item = item
        self._left = memoryview(item.content)

    def readinto(self, buffer: memoryview, /) -> int:
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> Reading:
        return Reading(self._item.entry)


def _cut(size: int, dice: random.Random) -> list[tuple[int, int]]:
    at = sorted({0, size, *(dice.randrange(size) for _ in range(min(size, 5)))})
    return list(pairwise(at))


class Saved(MemoryItems):
    """A capture, stored. What `previous` holds unchanged is not read: `read` names what was."""

    def __init__(self, capture: Capture, previous: MemoryItems | None = None) -> None:
        known = {item.entry.path: item for item in previous or ()}
        self.read: list[bytes] = []
        self.flaws: list[Flaw] = []
        kept = []
        for item in capture:
            stored = self._keep(item, known.get(item.entry.path))
            if stored:
                kept.append(stored)
                capture.stored(stored)
        super().__init__(kept)
        self.flaws += capture.flaws()
        self.facts = capture.facts()

    def _keep(self, item: Item, old: Stored | None) -> Stored | None:
        entry = item.entry
        if item.open is None:
            return Stored(entry)
        if old and entry.version[0] and _state(old) == _state(Stored(entry)):
            return old
        try:
            stream = item.open()
            try:
                content = read_all(stream)
            except BackupError:
                stream.close()
                raise
        except Vanished as error:
            self.flaws.append(Flaw(entry.path, "vanished", str(error)))
            return None
        except Unreadable as error:
            self.flaws.append(Flaw(entry.path, "unreadable", str(error)))
            return None
        self.read.append(entry.path)
        entry, flaw = stream.close()
        if flaw:
            self.flaws.append(Flaw(entry.path, flaw))
        return Stored(entry._replace(digest=content_digest(content) if item.want_digest else b""), content=content)


def read_all(stream: Stream, size: int = 10_000) -> bytes:
    buffer, content = memoryview(bytearray(size)), bytearray()
    while count := stream.readinto(buffer):
        content += buffer[:count]
    return bytes(content)


def _state(item: Stored) -> tuple[object, ...]:
    return item.entry.type, item.entry.size, item.entry.mtime_ns, item.entry.version

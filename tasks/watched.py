"""Stored items whose bytes are counted on their way out, so that a person sees how far a restore is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

from tasks.item import ForgivingSink, InPlace, KeepingSink, Reading, Sink, Stored, StoredItems, Stream, WholeSink
from tasks.progress import Progress

_INTERVAL = 0.25


class Watched:
    """`StoredItems` of `total` bytes, which tell their progress."""

    def __init__(self, items: StoredItems, total: int, progress: Progress) -> None:
        self._items = items
        self._count = _Count(total, progress)

    def __iter__(self) -> Iterator[Stored]:
        return iter(self._items)

    def open(self, item: Stored) -> Stream:
        return _CountedStream(self._items.open(item), self._count)

    def extract(self, items: Iterable[Stored], into: Sink) -> None:
        counted = _CountedWholeSink if isinstance(into, WholeSink) else _CountedSink
        self._items.extract(items, counted(into, self._count))


class _Count:
    """Safe in threads; tells at most four times a second."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total, self._progress = total, progress
        self._lock, self._next = threading.Lock(), 0.0
        self._bytes = self._items = 0

    def add(self, size: int, items: int = 0) -> None:
        with self._lock:
            self._bytes += size
            self._items += items
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + _INTERVAL
            figures = {"done_bytes": self._bytes, "total_bytes": self._total, "items": self._items}
        self._progress({name: float(value) for name, value in figures.items()})


class _CountedSink:
    def __init__(self, sink: Sink, count: _Count) -> None:
        self._sink, self._count = sink, count
        self._keeping = sink if isinstance(sink, KeepingSink) and sink.may_keep else None

    @property
    def may_keep(self) -> bool:
        return self._keeping is not None

    def there(self, item: Stored) -> InPlace | None:
        return self._keeping.there(item) if self._keeping else None

    def kept(self, item: Stored) -> None:
        if self._keeping:
            self._keeping.kept(item)
        self._count.add(item.entry.content_size, 1)

    def write(self, item: Stored, offset: int, data: memoryview) -> None:
        self._sink.write(item, offset, data)
        self._count.add(len(data))

    def complete(self, item: Stored) -> None:
        self._sink.complete(item)
        self._count.add(0, 1)

    def lost(self, item: Stored, error: Exception) -> None:
        if not isinstance(self._sink, ForgivingSink):
            raise error
        self._sink.lost(item, error)


class _CountedWholeSink(_CountedSink):
    """For most small files: what takes an item at once is offered it at once."""

    _sink: WholeSink

    def whole(self, item: Stored, data: memoryview) -> None:
        self._sink.whole(item, data)
        self._count.add(len(data), 1)


class _CountedStream:
    def __init__(self, stream: Stream, count: _Count) -> None:
        self._stream, self._count = stream, count

    def readinto(self, buffer: memoryview, /) -> int:
        size = self._stream.readinto(buffer)
        self._count.add(size)
        return size

    def close(self) -> Reading:
        self._count.add(0, 1)
        return self._stream.close()

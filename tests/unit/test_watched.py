"""What is watched on its way out comes as it would unwatched, and is counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tasks.item import FILE, Entry, Sink, Stored, Stream, WholeSink
from tasks.watched import Watched

ITEMS = [Stored(Entry(name, FILE, size=4), content=name) for name in (b"a", b"b", b"c")]


class Items:
    """Three of four bytes each; the last comes in pieces."""

    def __iter__(self) -> Iterator[Stored]:
        return iter(ITEMS)

    def open(self, item: Stored) -> Stream:
        raise NotImplementedError

    def extract(self, items: Iterable[Stored], into: Sink) -> None:
        for item in items:
            data = memoryview(item.entry.path * 4)
            if isinstance(into, WholeSink) and item is not ITEMS[-1]:
                into.whole(item, data)
                continue
            into.write(item, 0, data[:2])
            into.write(item, 2, data[2:])
            into.complete(item)


class Plain:
    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def write(self, item: Stored, offset: int, data: memoryview) -> None:
        self.heard.append(("write", item.entry.path, offset, bytes(data)))

    def complete(self, item: Stored) -> None:
        self.heard.append(("complete", item.entry.path))


class Whole(Plain):
    def whole(self, item: Stored, data: memoryview) -> None:
        self.heard.append(("whole", item.entry.path, bytes(data)))


@pytest.mark.parametrize("sink", [Plain, Whole])
def test_a_sink_hears_the_same_whether_or_not_somebody_watches(sink: type[Plain]) -> None:
    alone, watched = sink(), sink()
    Items().extract(ITEMS, alone)
    Watched(Items(), 12, lambda _: None).extract(ITEMS, watched)
    assert watched.heard == alone.heard
    assert any(each[0] == "whole" for each in watched.heard) == (sink is Whole)


@pytest.mark.parametrize("sink", [Plain, Whole])
def test_every_byte_and_item_is_counted(sink: type[Plain], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.watched._INTERVAL", 0.0)
    told = list[dict[str, float]]()
    Watched(Items(), 12, told.append).extract(ITEMS, sink())
    assert told[-1] == {"done_bytes": 12.0, "total_bytes": 12.0, "items": 3.0}

"""A snapshot's items, read back: listed, one stream at a time, or many at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tasks.errors import Damaged
from tasks.item import FILE, Sink, Stored
from tasks.repository import records
from tasks.repository.blocks import Blocks, shown
from tasks.repository.content_stream import ContentStream
from tasks.repository.extraction import Extraction
from tasks.repository.records import names_in


class Items:
    """A snapshot's items: `StoredItems` of tasks/item.py. Iterating needs a writer's key, contents the private key."""

    def __init__(self, blocks: Blocks, level: int, content: bytes) -> None:
        self._blocks, self._level, self._content = blocks, level, content

    def __iter__(self) -> Iterator[Stored]:
        for name in self.names(self._level, self._content, "the item list"):
            try:
                yield from records.decode(self._blocks.chunk(name, "the item list"))
            except ValueError as error:
                raise Damaged("the item list holds something that is no record") from error

    def list_chunk(self, name: bytes) -> memoryview:
        return self._blocks.chunk(name, "a list of chunks")

    def names(self, level: int, content: bytes, what: str) -> Iterator[bytes]:
        """The chunk names of a stream, in order."""
        for name in names_in(content):
            if level:
                yield from self.names(level - 1, bytes(self._blocks.chunk(name, what)), what)
            else:
                yield name

    def lists(self, level: int, content: bytes, what: str) -> Iterator[bytes]:
        """The chunk names of a stream, joined, part by part."""
        if level > 1:
            for name in names_in(content):
                yield from self.lists(level - 1, bytes(self._blocks.chunk(name, what)), what)
        elif level:
            for name in names_in(content):
                yield bytes(self._blocks.chunk(name, what))
        elif content:
            yield content

    def list_names(self, level: int, content: bytes, what: str) -> Iterator[bytes]:
        """The names of the nodes on the way to `names`: list chunks too."""
        if level:
            for name in names_in(content):
                yield name
                yield from self.list_names(level - 1, bytes(self._blocks.chunk(name, what)), what)

    def used(self) -> Iterator[bytes]:
        """Every chunk that the snapshot refers to, in no order, some often."""
        yield from self.list_names(self._level, self._content, "the item list")
        yield from self.names(self._level, self._content, "the item list")
        for item in self:
            if item.level:
                yield from self.list_names(item.level, item.content, shown(item))
                yield from self.names(item.level, item.content, shown(item))
            else:
                yield item.content

    def open(self, item: Stored) -> ContentStream:
        """The item's bytes in order."""
        return ContentStream(self._blocks, self.lists(item.level, item.content, shown(item)), item)

    def extract(self, items: Iterable[Stored], into: Sink) -> None:
        with Extraction(self._blocks, into) as extraction:
            for item in items:
                if item.entry.type != FILE:
                    continue
                if item.level:
                    extraction.add(item, self.lists(item.level, item.content, shown(item)))
                else:
                    extraction.add(item, (item.content,))

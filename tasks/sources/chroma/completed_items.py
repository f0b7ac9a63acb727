"""A folder's items as Chroma needs them: what was left out of the database is made again before it is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from tasks.errors import Damaged
from tasks.item import FILE, Sink, Stored, StoredItems, Stream
from tasks.scratch import scratch_folder
from tasks.sources.chroma.left_out import HEADER, is_left_out, put_back
from tasks.sources.chroma.records import NotWhole
from tasks.sources.chroma.stored_folder import DATABASE
from tasks.sources.file_restore import restore_files
from tasks.sources.source import Restoring

_NAME = os.fsencode(DATABASE)
_BUFFER = 4 << 20


class CompletedItems:
    """`StoredItems` whose databases `extract` gives out whole. One that lacks something is completed in a scratch
    folder first, so that no half of it ever lies where it is restored to."""

    def __init__(self, items: StoredItems, scratch: Path) -> None:
        self._items, self._scratch = items, scratch

    def __iter__(self) -> Iterator[Stored]:
        return iter(self._items)

    def open(self, item: Stored) -> Stream:
        """As it is stored."""
        return self._items.open(item)

    def extract(self, items: Iterable[Stored], into: Sink) -> None:
        """Raises `Damaged`, `NoSpace`, `Refused`."""
        incomplete: list[Stored] = []
        self._items.extract(self._others(items, incomplete), into)
        for item in incomplete:
            with scratch_folder(self._scratch) as scratch:
                restore_files(self._items, [item], scratch, Restoring(owners=False))
                self._complete(item, scratch / os.fsdecode(item.entry.path), into)

    def _others(self, items: Iterable[Stored], incomplete: list[Stored]) -> Iterator[Stored]:
        for item in items:
            if self._lacks(item):
                incomplete.append(item)
            else:
                yield item

    def _lacks(self, item: Stored) -> bool:
        if item.entry.type != FILE or item.entry.path.rpartition(b"/")[2] != _NAME:
            return False
        start, size = bytearray(HEADER), 0
        stream = self._items.open(item)
        try:
            while size < HEADER and (count := stream.readinto(memoryview(start)[size:])):
                size += count
        finally:
            stream.close()
        return is_left_out(bytes(start))

    def _complete(self, item: Stored, database: Path, into: Sink) -> None:
        database.chmod(0o600)
        try:
            put_back(database)
        except NotWhole as error:
            raise Damaged(
                f"the snapshot's folder can't be restored as one, but its collections can, into a server or with"
                f" `--to chroma:///FOLDER`: {error}"
            ) from error
        offset = 0
        with open(database, "rb", buffering=0) as file:
            buffer = memoryview(bytearray(_BUFFER))
            while count := file.readinto(buffer):
                into.write(item, offset, buffer[:count])
                offset += count
        into.complete(item)

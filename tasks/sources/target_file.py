"""A file while it is restored: where the bytes of its stream belong in it."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from tasks.errors import Damaged
from tasks.item import Entry
from tasks.sources.path_text import path_text


class TargetFile:
    """A file that is being written, under `name`; `made`, its identity, tells it from another that takes its place.
    Raises `Damaged` where the map of holes makes no sense."""

    __slots__ = ("extents", "made", "name", "path", "starts")

    def __init__(self, entry: Entry, name: bytes) -> None:
        _check_extents(entry)
        self.name = name
        self.made: tuple[int, int] | None = None
        self.path = entry.path
        self.extents = entry.extents
        # Where each stretch of data begins in the stream.
        self.starts = [0, *accumulate(length for _, length in entry.extents or ())]

    def places(self, offset: int, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Where in the file a run of the stream belongs."""
        if self.extents is None:
            yield offset, data
            return
        if offset + len(data) > self.starts[-1]:
            raise Damaged(f"`{path_text(self.path)}` has more bytes than its map of holes leaves room for")
        while data:
            index = bisect_right(self.starts, offset) - 1
            start, length = self.extents[index]
            within = offset - self.starts[index]
            part = data[: length - within]
            yield start + within, part
            data = data[len(part) :]
            offset += len(part)


def identity(status: os.stat_result) -> tuple[int, int]:
    """What no other file has at the same time."""
    return status.st_dev, status.st_ino


def _check_extents(entry: Entry) -> None:
    end = 0
    for start, length in entry.extents or ():
        if start < end or length <= 0:
            raise Damaged(f"`{path_text(entry.path)}`: its map of holes makes no sense")
        end = start + length
    if end > entry.size:
        raise Damaged(f"`{path_text(entry.path)}`: its map of holes makes no sense")

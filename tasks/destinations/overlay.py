"""Two destinations seen as one: the spool of a host over the destination that it is uploaded to."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

from tasks.destinations.destination import Data, Destination, Listed, OnDisk, check_name, check_prefix
from tasks.destinations.pouring import pour
from tasks.errors import Exists, Missing, Refused


class Overlay:
    """Reads from `first`, and what is not there from `then`; puts into `first`; never deletes. An object may move
    from `first` to `then` meanwhile, stored in the one before it is deleted from the other: it is always seen."""

    def __init__(self, first: Destination, then: Destination) -> None:
        self._first = first
        self._then = then

    def put(self, name: str, data: Data) -> None:
        """Asks `then` as well whether it has the name: a new object must not hide one that is there."""
        try:
            self._then.get(name, 0, 0)
        except Missing:
            self._first.put(name, data)
        else:
            raise Exists(f"`{name}` has been uploaded already, and was left as it is")

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        try:
            return self._first.get(name, offset, length)
        except Missing:
            return self._then.get(name, offset, length)

    def pour(self, name: str, into: BinaryIO) -> None:
        try:
            pour(self._first, name, into)
        except Missing:
            pour(self._then, name, into)

    def path_of(self, name: str) -> Path | None:
        """Of `first` alone: it has what was just made here."""
        return self._first.path_of(name) if isinstance(self._first, OnDisk) else None

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """Each name once, as `first` has it. Holds the names in `first`, never those in `then`."""
        return self._list(check_prefix(prefix))

    def delete(self, name: str) -> None:
        raise Refused(f"`{check_name(name)}` is not deleted through an overlay: delete it where it lies")

    def _list(self, prefix: str) -> Iterator[Listed]:
        # To its end before `then` is asked at all, or what moves from one to the other meanwhile would be missed.
        first = tuple(self._first.list(prefix))
        for _, same in groupby(merge(first, self._then.list(prefix), key=attrgetter("name")), attrgetter("name")):
            yield next(same)

"""Small files of one folder, listed together."""

from __future__ import annotations

import os
from collections.abc import Callable
from operator import attrgetter

from tasks.item import Item
from tasks.listing import Stamp

_size = attrgetter("st_size")


class SmallFiles:
    """`Siblings`; `make` makes the item of one of them, which depends on nothing but its path and status."""

    __slots__ = ("_make", "_statuses", "paths")

    def __init__(
        self, paths: list[bytes], statuses: list[os.stat_result], make: Callable[[bytes, os.stat_result], Item]
    ) -> None:
        self.paths, self._statuses, self._make = paths, statuses, make

    @property
    def size(self) -> int:
        return sum(map(_size, self._statuses))

    def stamps(self) -> list[Stamp]:
        return [(each.st_mtime_ns, each.st_size, (each.st_ctime_ns, each.st_ino)) for each in self._statuses]

    def item(self, at: int) -> Item:
        return self._make(self.paths[at], self._statuses[at])

    def after(self, count: int) -> SmallFiles:
        return SmallFiles(self.paths[count:], self._statuses[count:], self._make)

"""An RDB as an item's stream, whoever makes it: checked and counted on its way. What is torn never ends well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tasks.errors import Unavailable
from tasks.item import Entry, Reading
from tasks.sources.redis_store import rdb
from tasks.sources.redis_store.tally import Tally
from tasks.sources.redis_store.walk import Walk


class Pieces(Protocol):
    """The bytes of one RDB as they come."""

    def readinto(self, buffer: memoryview, /) -> int:
        """0 only at the end. Raises `Unavailable` where it ends too early."""
        ...

    def close(self) -> None: ...


class RdbStream:
    """A `Stream`. `done` is called at its end, when `tally` has counted everything; `unknown` says what could not be
    counted, which is a matter of facts alone: the bytes are whole. Raises `Unavailable` for an RDB without an end, or
    with another checksum than its own."""

    def __init__(
        self, pieces: Pieces, entry: Entry, shown: str, tally: Tally, *, done: Callable[[RdbStream], None]
    ) -> None:
        self.walk = Walk(tally)
        self.unknown = ""
        self._pieces, self._entry, self._shown, self._done = pieces, entry, shown, done
        self._size = 0
        self._ending = rdb.Ending()

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._pieces.readinto(buffer)
        if not count:
            self._judge()
            return 0
        piece = buffer[:count]
        self._size += count
        self._ending.add(piece)
        if not self.unknown:
            try:
                self.walk.feed(piece)
            except rdb.NotWalked as error:
                self.unknown = str(error)
        return count

    def close(self) -> Reading:
        self._pieces.close()
        return Reading(self._entry._replace(size=self._size))

    def _judge(self) -> None:
        is_ended = self._ending.is_there
        if not self.unknown:
            is_ended = is_ended and self.walk.ended and self.walk.left == rdb.TRAILER
        if not is_ended or not self._ending.is_right:
            raise Unavailable(
                f"the snapshot that {self._shown} sent is {'damaged' if is_ended else 'not complete'}:"
                " it is not kept, and will be taken again"
            )
        self._done(self)

"""Which keys of a snapshot are meant, and what is in their way: between the walk and whoever writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tasks.errors import Refused
from tasks.sources.redis_store.connection import Connection, ErrorReply
from tasks.sources.redis_store.glob import matcher
from tasks.sources.redis_store.refusal import refusal
from tasks.sources.redis_store.seen import Seen
from tasks.sources.redis_store.text import shown
from tasks.sources.redis_store.walk import Key, Visitor


class Selected:
    """A `Visitor` that passes on the keys of one database, or of all, that match one of the patterns, if there are any;
    into the database `into` if it is not None. Functions belong to all keys or to none."""

    def __init__(self, visitor: Visitor, *, database: int | None, keys: Sequence[str], into: int | None) -> None:
        self.count = 0
        self._visitor, self._database, self._into = visitor, database, into
        self._matches = [matcher(pattern).fullmatch for pattern in keys]
        self._all = not keys and database is None
        self._passing = False

    def function(self, code: bytes) -> None:
        if self._all:
            self._visitor.function(code)

    def value(self, key: Key, data: bytes) -> None:
        if self._all or self._wants(key):
            self.count += 1
            self._visitor.value(self._moved(key), data)

    def begin(self, key: Key, count: int) -> None:
        self._passing = self._all or self._wants(key)
        if self._passing:
            self.count += 1
            self._visitor.begin(self._moved(key), count)

    def piece(self, data: bytes, *, last: bool) -> None:
        if self._passing:
            self._visitor.piece(data, last=last)

    def finish(self) -> None:
        if self._passing:
            self._visitor.finish()

    def _wants(self, key: Key) -> bool:
        if self._database is not None and key.database != self._database:
            return False
        return not self._matches or any(matches(key.name) for matches in self._matches)

    def _moved(self, key: Key) -> Key:
        return key if self._into is None else key._replace(database=self._into)


class Twice:
    """A `Visitor` that raises `Refused` for a key that is told twice: of two databases that are to become one. `settle`
    must end it."""

    def __init__(self) -> None:
        self._seen = Seen()
        self._names: list[bytes] = []

    def function(self, code: bytes) -> None: ...

    def value(self, key: Key, data: bytes) -> None:
        self._names.append(key.name)
        if len(self._names) >= 1000:
            self.settle()

    def begin(self, key: Key, count: int) -> None:
        self.value(key, b"")

    def piece(self, data: bytes, *, last: bool) -> None: ...

    def finish(self) -> None: ...

    def settle(self) -> None:
        for name in Counter(self._names) - Counter(self._seen.new(self._names)):
            raise Refused(
                f"several databases of the snapshot have a key `{shown(name)}`, and one can't hold them all: choose"
                " the `database` that is meant, or other keys"
            )
        self._names.clear()


class Conflicts:
    """A `Visitor` that raises `Occupied` for the first key that the server has already. `settle` must end it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._database = -1
        self._keys: list[Key] = []

    def function(self, code: bytes) -> None: ...

    def value(self, key: Key, data: bytes) -> None:
        if key.database != self._database:
            self.settle()
            reply = self._connection.ask_all([("SELECT", key.database)])[0]
            if isinstance(reply, ErrorReply):
                raise refusal(self._connection, reply, key._replace(kind=-1))
            self._database = key.database
        self._keys.append(key)
        if len(self._keys) >= 1000:
            self.settle()

    def begin(self, key: Key, count: int) -> None:
        self.value(key, b"")

    def piece(self, data: bytes, *, last: bool) -> None: ...

    def finish(self) -> None: ...

    def settle(self) -> None:
        """Ask of all keys that were told."""
        replies = self._connection.ask_all([("EXISTS", key.name) for key in self._keys])
        for key, reply in zip(self._keys, replies, strict=True):
            if isinstance(reply, ErrorReply):
                raise refusal(self._connection, reply, key)
            if reply:
                raise refusal(self._connection, ErrorReply("EXISTS"), key)
        self._keys.clear()

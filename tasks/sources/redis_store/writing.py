"""Keys into a running server: RESTORE, many at once. The replies to one batch are read while the next is on its way."""

from __future__ import annotations

import sys
from collections import deque
from itertools import chain
from typing import NoReturn

from tasks.errors import TO_OVERWRITE, Occupied
from tasks.sources.redis_store import rdb
from tasks.sources.redis_store.connection import Connection, ErrorReply
from tasks.sources.redis_store.info import time_of
from tasks.sources.redis_store.large_keys import COMMANDS, Elements, Spooled
from tasks.sources.redis_store.mark import Mark
from tasks.sources.redis_store.refusal import refusal
from tasks.sources.redis_store.values import COUNTED
from tasks.sources.redis_store.walk import Key

_BATCH = 512 << 10


class Writer:
    """A `Visitor` that writes what it is told into one server. `settle` must end it. Memory stays bounded: what is
    large goes in parts, or through a file without a name. With a `mark`, which is taken, it passes over what is written
    already, and moves that on with each key that it writes; `overwrite` is not for that.

    Raises `Occupied` for a key that is there where `overwrite` is not allowed, `Refused` naming a key that the server
    does not take, `NoSpace`, `Unavailable`.
    """

    def __init__(self, connection: Connection, *, overwrite: bool, mark: Mark | None = None) -> None:
        self.version = 0
        self.expired = 0
        self.written = 0
        """Keys that the server has said it took."""
        self._connection, self._overwrite, self._mark = connection, overwrite, mark
        self._now = mark.now if mark else time_of(connection)
        self._tail = b"\r\n$6\r\nABSTTL\r\n" + (b"$7\r\nREPLACE\r\n" if overwrite else b"")
        self._shape()
        self._count = 0
        self._database = -1
        self._functions: set[bytes] = set()
        self._parts: list[bytes] = []
        self._weight = 0
        self._names: list[tuple[int, bytes, int]] = []
        self._waiting: deque[list[tuple[int, bytes, int]]] = deque()
        self._large: Elements | Spooled | None = None
        self.lines: list[str] = []

    def function(self, code: bytes) -> None:
        """They come first, so that nothing was written yet where one is there already. Each shard of a cluster has them
        all: what came before is passed over."""
        if code in self._functions:
            return
        self._functions.add(code)
        content = bytes([rdb.FUNCTION]) + code + (10).to_bytes(2, "little")
        dumped = content + rdb.crc64(content).to_bytes(8, "little")
        try:
            self._connection.call("FUNCTION", "RESTORE", dumped, "REPLACE" if self._overwrite else "APPEND")
        except ErrorReply as error:
            shown_at = self._connection.place.shown
            if "already exists" in str(error):
                if self._mark and self._has(code):
                    return
                raise Occupied(
                    f"{shown_at} has a library of functions already ({error}); choose keys, or {TO_OVERWRITE}"
                ) from error
            if not error.is_forbidden:
                raise self._connection.translated(error, "FUNCTION RESTORE") from error
            self.lines.append(f"a library of functions was not restored: {shown_at} does not take it ({error})")

    def value(self, key: Key, data: bytes) -> None:
        database, name, kind, expires, idle, frequency = key
        if expires == -1:
            expires = 0
        elif expires <= self._now:
            self.expired += 1
            return
        if self._passing:
            self._passing -= 1
            self.written += 1
            return
        if database != self._database:
            self._select(database)
        content = rdb.payload(kind, data, self.version)
        arguments = self._arguments + 2 * (idle >= 0 or frequency >= 0)
        made = self._form % (
            arguments,
            len(name),
            name,
            len(str(expires)),
            expires,
            len(content),
            content,
            self._tail,
        )
        if idle >= 0:
            made += b"$8\r\nIDLETIME\r\n$%d\r\n%d\r\n" % (len(str(idle)), idle)
        elif frequency >= 0:
            made += b"$4\r\nFREQ\r\n$%d\r\n%d\r\n" % (len(str(frequency)), frequency)
        self._parts.append(made)
        self._names.append((database, name, kind))
        self._weight += len(made)
        self._count += arguments
        if self._weight >= _BATCH or len(self._names) >= self._most:
            self._send()

    def begin(self, key: Key, count: int) -> None:
        self._large = None
        if key.expires != -1 and key.expires <= self._now:
            self.expired += 1
            return
        if self._passing:
            self._passing -= 1
            self.written += 1
            return
        self.settle()
        if key.database != self._database:
            self._select(key.database)
        if self._mark and (left := self._mark.left(key.name)):
            self._connection.ask_all([("UNLINK", *left)])
        if key.kind in COMMANDS:
            self._large = Elements(self._connection, key, overwrite=self._overwrite, mark=self._mark)
        else:
            self._large = Spooled(self._connection, key, self.version, overwrite=self._overwrite, mark=self._mark)
            if key.kind in COUNTED:
                self._large.piece(rdb.length(count), last=False)

    def piece(self, data: bytes, *, last: bool) -> None:
        if self._large is not None:
            self._large.piece(data, last=last)

    def finish(self) -> None:
        if self._large is None:
            return
        self._large.finish()
        self._large = None
        self.written += 1

    def abandon(self) -> bool:
        """No more comes of the key that is under way: nothing stays of it. False if there is none."""
        large, self._large = self._large, None
        if large is not None:
            large.abandon()
        return large is not None

    def go_unmarked(self) -> None:
        """From here on; nobody goes on with this run then."""
        self.settle()
        mark, self._mark = self._mark, None
        self._shape()
        if mark:
            mark.drop()

    def settle(self) -> None:
        """All that was told is in the server."""
        self._send()
        while self._waiting:
            self._hear()

    def close(self) -> None:
        if self._large is not None:
            self._large.close()
        self._connection.close()

    def _shape(self) -> None:
        """Of what writes a key: with a mark the arguments of a script, for each key with their number before them."""
        mark = self._mark
        self._passing = mark.position if mark else 0
        self._arguments = 4 if mark else 6 if self._overwrite else 5
        self._form = b"$1\r\n%d\r\n" if mark else b"*%d\r\n$7\r\nRESTORE\r\n"
        self._form += b"$%d\r\n%b\r\n$%d\r\n%d\r\n$%d\r\n%b%b"
        self._most = Mark.MOST if mark else sys.maxsize

    def _select(self, database: int) -> None:
        """At once: what comes behind a SELECT that is refused would go into another database."""
        self.settle()
        try:
            self._connection.call("SELECT", database)
        except ErrorReply as error:
            raise refusal(self._connection, error, Key(database, b"", -1)) from error
        self._database = database

    def _send(self) -> None:
        if not self._parts:
            return
        if self._mark:
            keys = len(self._names)
            self._parts.insert(0, self._mark.restoring(self._database, keys, self._count + keys))
        self._connection.send_raw(b"".join(self._parts))
        self._waiting.append(self._names)
        self._parts, self._names, self._weight, self._count = [], [], 0, 0
        if len(self._waiting) > 2:
            self._hear()

    def _hear(self) -> None:
        names = self._waiting.popleft()
        if self._connection.all_are(b"OK", 1 if self._mark else len(names)):
            self.written += len(names)
            return
        if self._mark:
            self._hear_refusal(self._mark, names)
        refused: tuple[ErrorReply, Key] | None = None
        for database, name, kind in (*names, *chain.from_iterable(self._waiting)):
            reply = self._connection.reply_or_error()
            if isinstance(reply, ErrorReply):
                refused = refused or (reply, Key(database, name, kind))
            else:
                self.written += 1
        self._waiting.clear()
        if refused:
            raise refusal(self._connection, *refused)

    def _hear_refusal(self, mark: Mark, names: list[tuple[int, bytes, int]]) -> NoReturn:
        """None of the batches behind that one is written, as the mark has not come to where they begin."""
        reply = self._connection.reply_or_error()
        for _ in self._waiting:
            self._connection.reply_or_error()
        self._waiting.clear()
        done, error = mark.refused(self._connection, reply)
        self.written += done
        raise refusal(self._connection, error, Key(*names[done]))

    def _has(self, code: bytes) -> bool:
        """Whether the server has just this library of functions."""
        held = self._connection.ask_all([("FUNCTION", "LIST", "WITHCODE")])[0]
        return isinstance(held, list) and any(rdb.text(code).value in library for library in held)

"""Keys into a running server: RESTORE, many at once. The replies to one batch are read while the next is on its way."""

from __future__ import annotations

import secrets
import tempfile
from collections import deque

from tasks.errors import Occupied, Refused, SourceError
from tasks.sources.redis_store import rdb
from tasks.sources.redis_store.connection import Argument, Connection, ErrorReply
from tasks.sources.redis_store.refusal import refusal
from tasks.sources.redis_store.text import shown
from tasks.sources.redis_store.values import COUNTED
from tasks.sources.redis_store.walk import Key

_BATCH = 512 << 10
_PIECE = 1 << 20
_LARGEST = 512 << 20
"""`proto-max-bulk-len`, as long as nobody changes it."""
_COMMANDS = {
    # Of each type that is made of elements: the command, and the strings of an element.
    rdb.LIST: ("RPUSH", 1),
    rdb.SET: ("SADD", 1),
    rdb.HASH: ("HSET", 2),
    rdb.SORTED_SET: ("ZADD", 1),
}
_TEMPORARY_MILLISECONDS = 3_600_000


class Writer:
    """A `Visitor` that writes what it is told into one server. `settle` must end it. Memory stays bounded: what is
    large goes in parts, or through a file without a name.

    Raises `Occupied` for a key that is there where `overwrite` is not allowed, `Refused` naming a key that the server
    does not take, `NoSpace`, `Unavailable`.
    """

    def __init__(self, connection: Connection, *, overwrite: bool) -> None:
        self.version = 0
        self.expired = 0
        self._connection, self._overwrite = connection, overwrite
        seconds, microseconds = connection.ask("TIME")
        self._now = int(seconds) * 1000 + int(microseconds) // 1000
        self._tail = b"\r\n$6\r\nABSTTL\r\n" + (b"$7\r\nREPLACE\r\n" if overwrite else b"")
        self._arguments = 6 if overwrite else 5
        self._database = -1
        self._functions: set[bytes] = set()
        self._parts: list[bytes] = []
        self._weight = 0
        self._names: list[tuple[int, bytes, int]] = []
        self._waiting: deque[list[tuple[int, bytes, int]]] = deque()
        self._large: _Elements | _Spooled | None = None
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
                raise Occupied(
                    f"{shown_at} has a library of functions already ({error}); choose keys, or allow to overwrite"
                    " (`--overwrite`)"
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
        if database != self._database:
            self._select(database)
        content = rdb.payload(kind, data, self.version)
        made = b"*%d\r\n$7\r\nRESTORE\r\n$%d\r\n%b\r\n$%d\r\n%d\r\n$%d\r\n%b%b" % (
            self._arguments + 2 * (idle >= 0 or frequency >= 0),
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
        if self._weight >= _BATCH:
            self._send()

    def begin(self, key: Key, count: int) -> None:
        if key.expires != -1 and key.expires <= self._now:
            self._large = None
            return
        self.settle()
        if key.database != self._database:
            self._select(key.database)
        if key.kind in _COMMANDS:
            self._large = _Elements(self._connection, key, overwrite=self._overwrite)
        else:
            self._large = _Spooled(self._connection, key, self.version, overwrite=self._overwrite)
            if key.kind in COUNTED:
                self._large.piece(rdb.length(count), last=False)

    def piece(self, data: bytes, *, last: bool) -> None:
        if self._large is not None:
            self._large.piece(data, last=last)

    def finish(self) -> None:
        if self._large is None:
            self.expired += 1
            return
        self._large.finish()
        self._large = None

    def abandon(self) -> bool:
        """No more comes of the key that is under way: nothing stays of it. False if there is none."""
        large, self._large = self._large, None
        if large is not None:
            large.abandon()
        return large is not None

    def settle(self) -> None:
        """All that was told is in the server."""
        self._send()
        while self._waiting:
            self._hear()

    def close(self) -> None:
        if self._large is not None:
            self._large.close()
        self._connection.close()

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
        self._connection.send_raw(b"".join(self._parts))
        self._waiting.append(self._names)
        self._parts, self._names, self._weight = [], [], 0
        if len(self._waiting) > 2:
            self._hear()

    def _hear(self) -> None:
        names = self._waiting.popleft()
        if self._connection.all_are(b"OK", len(names)):
            return
        for database, name, kind in names:
            reply = self._connection.reply_or_error()
            if isinstance(reply, ErrorReply):
                raise refusal(self._connection, reply, Key(database, name, kind))


class _Elements:
    """A large key in parts: into a temporary key, which then takes its name at once. One that a kill leaves behind
    expires within the hour."""

    def __init__(self, connection: Connection, key: Key, *, overwrite: bool) -> None:
        self._connection, self._key, self._overwrite = connection, key, overwrite
        self._command, self._strings = _COMMANDS[key.kind]
        self._temporary = _beside(key.name)
        self._element = bytearray()
        self._arguments: list[Argument] = []
        self._weight = 0

    def piece(self, data: bytes, *, last: bool) -> None:
        self._element += data
        if not last:
            return
        element, at = bytes(self._element), 0
        self._element.clear()
        strings: list[bytes] = []
        for _ in range(self._strings):
            value, at = rdb.text(element, at)
            strings.append(value)
        if self._key.kind == rdb.SORTED_SET:
            strings.insert(0, rdb.score(element[at:]))
        self._arguments += strings
        self._weight += sum(map(len, strings))
        if self._weight >= _BATCH or len(self._arguments) >= 1000:
            self._write()

    def finish(self) -> None:
        self._write()
        key = self._key
        expiry = ("PERSIST", self._temporary) if key.expires == -1 else ("PEXPIREAT", self._temporary, key.expires)
        self._ask(*expiry)
        if self._ask("RENAME" if self._overwrite else "RENAMENX", self._temporary, key.name) == 0:
            self._connection.ask("UNLINK", self._temporary)
            raise refusal(self._connection, ErrorReply("EXISTS"), key)

    def abandon(self) -> None:
        self._connection.ask("UNLINK", self._temporary)
        self.close()

    def close(self) -> None:
        self._arguments.clear()

    def _write(self) -> None:
        if self._arguments:
            self._ask(self._command, self._temporary, *self._arguments)
            self._ask("PEXPIRE", self._temporary, _TEMPORARY_MILLISECONDS)
        self._arguments, self._weight = [], 0

    def _ask(self, *command: Argument) -> object:
        try:
            reply: object = self._connection.call(*command)
        except ErrorReply as error:
            raise refusal(self._connection, error, self._key) from error
        return reply


class _Spooled:
    """A large value that only RESTORE can write: through a file, as its length and checksum come before it."""

    def __init__(self, connection: Connection, key: Key, version: int, *, overwrite: bool) -> None:
        self._connection, self._key, self._overwrite = connection, key, overwrite
        self._footer = rdb.least_version(key.kind, version).to_bytes(2, "little")
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, closed with this
        self._checksum = 0
        self._write(bytes([key.kind]))

    def piece(self, data: bytes, *, last: bool) -> None:
        self._write(data)

    def finish(self) -> None:
        self._write(self._footer)
        self._file.write(self._checksum.to_bytes(8, "little"))
        connection, key, size = self._connection, self._key, self._file.tell()
        limit = connection.ask_all([("CONFIG", "GET", "proto-max-bulk-len")])[0]
        most = int(limit[1]) if isinstance(limit, list) and len(limit) == 2 else _LARGEST
        if size > most:
            raise Refused(
                f"the key `{shown(key.name)}` in database {key.database} takes {size / 1e6:.0f} MB in one command, and"
                f" {connection.place.shown} allows {most / 1e6:.0f}: raise `proto-max-bulk-len`, or leave the key out"
            )
        expires = b"%d" % max(key.expires, 0)
        head = (b"RESTORE", key.name, expires)
        connection.send_raw(
            b"*%d\r\n" % (6 if self._overwrite else 5)
            + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in head)
            + b"$%d\r\n" % size
        )
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            connection.send_raw(piece)
        connection.send_raw(b"\r\n$6\r\nABSTTL\r\n" + (b"$7\r\nREPLACE\r\n" if self._overwrite else b""))
        self.close()
        reply = connection.reply_or_error()
        if isinstance(reply, ErrorReply):
            raise refusal(connection, reply, key)

    def abandon(self) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def _write(self, data: bytes | memoryview) -> None:
        self._checksum = rdb.crc64(data, self._checksum)
        try:
            self._file.write(data)
        except OSError as error:
            raise SourceError(
                f"no room in `{tempfile.gettempdir()}` for a large key: {error.strerror}; free some, or set TMPDIR"
            ) from error


def _beside(name: bytes) -> bytes:
    """A name in the same slot of a cluster."""
    start = name.find(b"{")
    end = name.find(b"}", start + 1)
    tag = name[start + 1 : end] if start >= 0 and end > start + 1 else name
    return b"geometra-restore:" + secrets.token_hex(8).encode() + b"{" + tag + b"}"

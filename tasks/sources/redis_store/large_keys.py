"""One large key into a running server, a part at a time: nothing of it has its name before all of it is there."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import suppress

from tasks.errors import BackupError, Refused, SourceError
from tasks.sources.redis_store import rdb
from tasks.sources.redis_store.connection import Argument, Connection, ErrorReply
from tasks.sources.redis_store.info import time_of
from tasks.sources.redis_store.mark import Mark
from tasks.sources.redis_store.refusal import refusal
from tasks.sources.redis_store.servers import beside
from tasks.sources.redis_store.text import shown
from tasks.sources.redis_store.walk import Key

_BATCH = 512 << 10
_PIECE = 1 << 20
_LARGEST = 512 << 20
"""`proto-max-bulk-len`, as long as nobody changes it."""
COMMANDS = {
    # Of each type that is made of elements: the command, and the strings of an element.
    rdb.LIST: ("RPUSH", 1),
    rdb.SET: ("SADD", 1),
    rdb.HASH: ("HSET", 2),
    rdb.SORTED_SET: ("ZADD", 1),
}
_TEMPORARY_MILLISECONDS = 3_600_000


class Elements:
    """A large key in parts: into a temporary key, which then takes its name at once. One that a kill leaves behind
    expires within the hour, and any other end removes it: a server that is full needs its room."""

    def __init__(self, connection: Connection, key: Key, *, overwrite: bool, mark: Mark | None = None) -> None:
        self._connection, self._key, self._overwrite, self._mark = connection, key, overwrite, mark
        self._command, self._strings = COMMANDS[key.kind]
        self._temporary = mark.passing(key.name) if mark else beside(key.name, secrets.token_hex(8))
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
        if self._mark:
            _name(self._mark, self._connection, self._temporary, key)
            return
        expiry = ("PERSIST", self._temporary) if key.expires == -1 else ("PEXPIREAT", self._temporary, key.expires)
        self._ask(*expiry)
        if key.expires != -1 and self._ask("EXISTS", self._temporary) == 0:
            return  # it has expired by now
        if self._ask("RENAME" if self._overwrite else "RENAMENX", self._temporary, key.name) == 0:
            self._connection.ask("UNLINK", self._temporary)
            raise refusal(self._connection, ErrorReply("EXISTS"), key)

    def abandon(self) -> None:
        self._connection.ask("UNLINK", self._temporary)
        self._arguments.clear()

    def close(self) -> None:
        self._arguments.clear()
        _take_back(self._connection, self._key.database, self._temporary)

    def _write(self) -> None:
        if self._arguments:
            # At once: what lies between them, such as a kill, would leave a key that never expires.
            add = self._command, self._temporary, *self._arguments
            for reply in self._connection.ask_all([add, ("PEXPIRE", self._temporary, _TEMPORARY_MILLISECONDS)]):
                if isinstance(reply, ErrorReply):
                    raise refusal(self._connection, reply, self._key)
        self._arguments, self._weight = [], 0

    def _ask(self, *command: Argument) -> object:
        try:
            reply: object = self._connection.call(*command)
        except ErrorReply as error:
            raise refusal(self._connection, error, self._key) from error
        return reply


class Spooled:
    """A large value that only RESTORE can write: through a file, as its length and checksum come before it. With a
    mark it gets its name in the step that moves that on; but for one of a module, which may hear of its name."""

    def __init__(
        self, connection: Connection, key: Key, version: int, *, overwrite: bool, mark: Mark | None = None
    ) -> None:
        self._connection, self._key, self._overwrite, self._mark = connection, key, overwrite, mark
        self._passing = mark.passing(key.name) if mark and key.kind != rdb.MODULE else b""
        self._footer = rdb.least_version(key.kind, version).to_bytes(2, "little")
        self._is_there = False
        """Under the passing name, or about to be."""
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
        if self._passing:
            head = (b"RESTORE", self._passing, b"%d" % (time_of(connection) + _TEMPORARY_MILLISECONDS))
        self._is_there = bool(self._passing)
        connection.send_raw(
            b"*%d\r\n" % (6 if self._overwrite else 5)
            + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in head)
            + b"$%d\r\n" % size
        )
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            connection.send_raw(piece)
        connection.send_raw(b"\r\n$6\r\nABSTTL\r\n" + (b"$7\r\nREPLACE\r\n" if self._overwrite else b""))
        self._file.close()
        reply = connection.reply_or_error()
        if isinstance(reply, ErrorReply):
            raise refusal(connection, reply, key)
        if self._mark:
            _name(self._mark, connection, self._passing, key)
        self._is_there = False

    def abandon(self) -> None:
        self._file.close()

    def close(self) -> None:
        self._file.close()
        if self._is_there:
            _take_back(self._connection, self._key.database, self._passing)

    def _write(self, data: bytes | memoryview) -> None:
        self._checksum = rdb.crc64(data, self._checksum)
        try:
            self._file.write(data)
        except OSError as error:
            raise SourceError(
                f"no room in `{tempfile.gettempdir()}` for a large key: {error.strerror}; free some, or set TMPDIR"
            ) from error


def _take_back(connection: Connection, database: int, passing: bytes) -> None:
    """What has a passing name, of a key that did not come to its end."""
    with suppress(BackupError, ErrorReply):  # the error that ended the restore matters more
        connection.close()  # a signal may have ended it between a command and its reply
        connection.call("SELECT", database)
        connection.call("UNLINK", passing)


def _name(mark: Mark, connection: Connection, passing: bytes, key: Key) -> None:
    """Without a passing name the key has its own."""
    try:
        if passing:
            mark.name(connection, passing, key)
        else:
            mark.pass_by(connection, key)
    except ErrorReply as error:
        raise refusal(connection, error, key) from error

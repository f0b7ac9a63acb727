"""A large key read in parts, so that no single command keeps the server from others; written as RDB has it.

The parts are spooled in a file without a name, as RDB wants the number of elements before them. A string or a list is
watched meanwhile, as what is written to it would shift its parts; SCAN and its like give what was there all the time.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from tasks.errors import SourceError
from tasks.sources.redis_store import rdb
from tasks.sources.redis_store.connection import Argument, Connection, ErrorReply
from tasks.sources.redis_store.seen import Seen

PART = 256 << 10
"""About so many bytes are asked for at once."""
_AT_ONCE = 16 << 20
"""Bytes of memory up to which a key that never keeps still is read by one command, which takes some 20 ms."""
_TRIES = 3
_PIECE = 1 << 20
Encode = Callable[[bytes, bytes], bytes]


class _OtherType(Exception):
    """The key has got another type since it was asked for."""


class Parts:
    """One large key. Use as a context. `kind` is the RDB's type once it was `read`."""

    def __init__(self, connection: Connection, name: bytes, size: int) -> None:
        self.kind = rdb.STRING
        self.flaw = ""
        self._connection, self._name, self._size = connection, name, size
        self._count = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, closed with this

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self) -> bool:
        """False if the key is gone, or only DUMP can give it: then `kind` is `rdb.MODULE`."""
        try:
            for _ in range(_TRIES):
                with suppress(_OtherType):
                    return self._read()
        except OSError as error:
            raise self._no_room(error) from error
        self.kind = rdb.MODULE
        return False

    def _read(self) -> bool:
        kind, self.flaw = self._ask("TYPE"), ""
        if kind == b"none":
            return False
        if kind == b"string":
            self.kind = rdb.STRING
            return self._read_still(self._read_string, PART)
        if kind == b"list":
            self.kind = rdb.LIST
            return self._read_still(self._read_list, self._step(self._ask("LLEN")))
        if kind == b"set":
            self.kind = rdb.SET
            return self._scan("SSCAN", "SCARD", 1, lambda member, _: rdb.string(member))
        if kind == b"zset":
            self.kind = rdb.SORTED_SET
            return self._scan("ZSCAN", "ZCARD", 2, lambda member, score: rdb.string(member) + rdb.double(score))
        if kind == b"hash":
            self.kind = rdb.HASH
            whole = self._scan("HSCAN", "HLEN", 2, lambda name, value: rdb.string(name) + rdb.string(value))
            self._look_for_field_expiries()
            return whole
        self.kind = rdb.MODULE
        return False

    def pieces(self) -> Iterator[bytes]:
        """The encoded value."""
        yield rdb.length(self._count)
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece

    def dump(self) -> bool:
        """Take what one DUMP gives, which may be as large as memory is; False if the key is gone."""
        self._connection.send([("DUMP", self._name)])
        line = self._connection.line()
        if line[:1] == b"-":
            raise self._connection.translated(ErrorReply(line[1:].decode(errors="replace")), "DUMP")
        self._count = int(line[1:]) - rdb.FOOTER
        buffer, left = memoryview(bytearray(_PIECE)), self._count + rdb.FOOTER + 2
        if self._count < 1:
            return False
        self._file.seek(0)
        try:
            while left > 0:
                count = self._connection.readinto(buffer[:left])
                self._file.write(buffer[:count])
                left -= count
        except OSError as error:
            raise self._no_room(error) from error
        self._file.seek(0)
        self.kind = self._file.read(1)[0]
        return True

    def dumped(self) -> Iterator[bytes]:
        """The encoded value that `dump` took."""
        self._file.seek(1)
        left = self._count - 1
        while piece := self._file.read(min(left, _PIECE)):
            left -= len(piece)
            yield piece

    def _read_still(self, read: Callable[[int], None], step: int) -> bool:
        """In parts, until nobody wrote to it meanwhile. One that is written to all the time, or may not be watched,
        comes by one command; what is too large for that may be as it never was, which is a flaw."""
        for _ in range(_TRIES):
            self._begin()
            if isinstance(self._connection.ask_all([("WATCH", self._name)])[0], ErrorReply):
                break
            read(step)
            if self._connection.ask_all([("MULTI",), ("EXEC",)])[1] == []:
                return self._count > 0
        if self._size > _AT_ONCE:
            self.flaw = "it was written to while it was read in parts, and is too large for one command"
        self._begin()
        read(step if self.flaw else sys.maxsize)
        return self._count > 0

    def _read_string(self, step: int) -> None:
        for start in range(0, self._ask("STRLEN"), step):
            self._file.write(self._ask("GETRANGE", start, start + step - 1))
        self._count = self._file.tell()

    def _read_list(self, step: int) -> None:
        while elements := self._ask("LRANGE", self._count, self._count + step - 1):
            self._file.write(b"".join(map(rdb.string, elements)))
            self._count += len(elements)
            if len(elements) < step:
                break

    def _scan(self, scan: str, count: str, width: int, encode: Encode) -> bool:
        step = self._step(self._ask(count))
        self._begin()
        seen, cursor = Seen(), b"0"
        while True:
            cursor, flat = self._ask(scan, cursor, "COUNT", step)
            found = dict(zip(flat[::width], flat[width - 1 :: width], strict=True))
            fresh = seen.new(list(found))
            self._file.write(b"".join(encode(name, found[name]) for name in fresh))
            self._count += len(fresh)
            if cursor == b"0":
                return self._count > 0

    def _look_for_field_expiries(self) -> None:
        """Fields of a hash may expire on their own (Redis 7.4, Valkey 9), which HSCAN does not tell."""
        cursor, step = b"0", self._step(max(self._count, 1))
        while True:
            cursor, flat = self._ask("HSCAN", cursor, "COUNT", step)
            if (names := flat[::2]) and (flaw := self._expiry_flaw(names)) is not None:
                self.flaw = flaw
                return
            if cursor == b"0":
                return

    def _expiry_flaw(self, names: Sequence[bytes]) -> str | None:
        """Of some fields; None if there is none so far. Empty on a server of which no field can expire."""
        try:
            expiries = self._connection.call("HPEXPIRETIME", self._name, "FIELDS", len(names), *names)
        except ErrorReply as error:
            if error.code == "NOPERM":
                return "this user may not ask whether its fields expire (+hpexpiretime), and no such expiry was kept"
            if error.code == "WRONGTYPE":
                raise _OtherType from error
            if error.is_forbidden:
                return ""
            raise self._connection.translated(error, "HPEXPIRETIME") from error
        kept = all(at < 0 for at in expiries or ())
        return None if kept else "the expiries of its fields were not kept: it is too large for one DUMP"

    def _ask(self, command: str, *arguments: Argument) -> Any:
        try:
            return self._connection.call(command, self._name, *arguments)
        except ErrorReply as error:
            if error.code == "WRONGTYPE":
                raise _OtherType from error
            raise self._connection.translated(error, command) from error

    def _no_room(self, error: OSError) -> SourceError:
        return SourceError(
            f"no room in `{tempfile.gettempdir()}` for a large key of {self._size / 1e6:.0f} MB: {error.strerror};"
            " free some, or set TMPDIR"
        )

    def _begin(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._count = 0

    def _step(self, count: int) -> int:
        """How many elements make a part."""
        return max(1, min(1000, PART * max(count, 1) // max(self._size, 1)))

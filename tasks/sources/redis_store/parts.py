"""A large key read in parts, so that no single command keeps the server from others; written as RDB has it.

The parts are spooled in a file without a name, as RDB wants the number of elements before them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from tasks.errors import BackupError, SourceError
from tasks.sources.redis_store import rdb
from tasks.sources.redis_store.connection import Connection
from tasks.sources.redis_store.seen import Seen

PART = 256 << 10
"""About so many bytes are asked for at once."""
_TRIES = 3
_PIECE = 1 << 20
Encode = Callable[[bytes, bytes], bytes]


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
        kind = self._connection.ask("TYPE", self._name)
        if kind == b"none":
            return False
        try:
            if kind == b"string":
                return self._read_string()
            if kind == b"list":
                self.kind = rdb.LIST
                return self._read_list()
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
        except OSError as error:
            raise SourceError(
                f"no room in `{tempfile.gettempdir()}` for a large key of {self._size / 1e6:.0f} MB: {error.strerror};"
                " free some, or set TMPDIR"
            ) from error
        self.kind = rdb.MODULE
        return False

    def pieces(self) -> Iterator[bytes]:
        """The encoded value."""
        yield rdb.length(self._count)
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece

    def _read_string(self) -> bool:
        for _ in range(_TRIES):
            self._begin()
            length = self._connection.ask("STRLEN", self._name)
            for start in range(0, length, PART):
                self._file.write(self._connection.ask("GETRANGE", self._name, start, start + PART - 1))
            self._count = self._file.tell()
            if self._count == length == self._connection.ask("STRLEN", self._name):
                break
        return self._count > 0

    def _read_list(self) -> bool:
        """A list that is pushed to or popped from meanwhile shifts: then it is read again, and once more."""
        step = self._step(self._connection.ask("LLEN", self._name))
        for _ in range(_TRIES):
            self._begin()
            before = self._connection.ask("LLEN", self._name)
            ends = self._ends()
            while elements := self._connection.ask("LRANGE", self._name, self._count, self._count + step - 1):
                self._file.write(b"".join(map(rdb.string, elements)))
                self._count += len(elements)
            if self._count == before == self._connection.ask("LLEN", self._name) and ends == self._ends():
                break
        return self._count > 0

    def _ends(self) -> list[Any]:
        return self._connection.ask_all([("LINDEX", self._name, 0), ("LINDEX", self._name, -1)])

    def _scan(self, scan: str, count: str, width: int, encode: Encode) -> bool:
        step = self._step(self._connection.ask(count, self._name))
        self._begin()
        seen, cursor = Seen(), b"0"
        while True:
            cursor, flat = self._connection.ask(scan, self._name, cursor, "COUNT", step)
            found = dict(zip(flat[::width], flat[width - 1 :: width], strict=True))
            fresh = seen.new(list(found))
            self._file.write(b"".join(encode(name, found[name]) for name in fresh))
            self._count += len(fresh)
            if cursor == b"0":
                return self._count > 0

    def _look_for_field_expiries(self) -> None:
        """Fields of a hash may expire on their own (Redis 7.4, Valkey 9), which HSCAN does not tell."""
        with suppress(BackupError):
            cursor = b"0"
            step = self._step(max(self._count, 1))
            while True:
                cursor, flat = self._connection.ask("HSCAN", self._name, cursor, "COUNT", step)
                names: Sequence[bytes] = flat[::2]
                if names and any(
                    at >= 0 for at in self._connection.ask("HPEXPIRETIME", self._name, "FIELDS", len(names), *names)
                ):
                    self.flaw = "the expiries of its fields were not kept: it is too large for one DUMP"
                    return
                if cursor == b"0":
                    return

    def _begin(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._count = 0

    def _step(self, count: int) -> int:
        """How many elements make a part."""
        return max(1, min(1000, PART * max(count, 1) // max(self._size, 1)))

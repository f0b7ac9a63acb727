"""SCAN with pipelined DUMP, for servers that give no snapshot: every key as it was when it was read, as one RDB.

Keys of a batch are read in one MULTI, so that a value and its expiry belong together; in a cluster each key has one of
its own, as a transaction there is about one slot. A key that is too large for one
command is read in parts. Nothing blocks the server for longer than a few milliseconds, but for a module's value or a
stream, which only DUMP gives.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any

from tasks.errors import Unavailable
from tasks.sources.redis_store import rdb
from tasks.sources.redis_store.connection import Connection, ErrorReply
from tasks.sources.redis_store.info import databases, has_lost_its_primary, info
from tasks.sources.redis_store.parts import Parts
from tasks.sources.redis_store.place import Place
from tasks.sources.redis_store.seen import Seen
from tasks.sources.redis_store.servers import mode
from tasks.sources.redis_store.text import shown

_DOUBTFUL, _HEAVY = 16 << 10, 2 << 20
"""A key that takes less memory than the first is surely small; one that takes more than the second surely is not."""
_COUNTING = {
    # Of each type that can be read in parts: how long it is, and up to which length it is read at once.
    b"string": ("STRLEN", 256 << 10),
    b"list": ("LLEN", 2000),
    b"set": ("SCARD", 2000),
    b"zset": ("ZCARD", 2000),
    b"hash": ("HLEN", 2000),
}
_COUNT = 1000
_BATCH = 512 << 10
_AT_ONCE, _SINGLE_AT_ONCE = 8, 32
"""Batches, or single keys, that are on their way at once; with what is read, so much memory a scan takes."""
_SILENT = 1.0
"""Seconds after which a connection is made anew rather than relied on."""
_BEGIN = b"*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nTIME\r\n"
_SIZE = b"*3\r\n$6\r\nMEMORY\r\n$5\r\nUSAGE\r\n$%d\r\n%b\r\n"
_END = b"*1\r\n$4\r\nEXEC\r\n"


class Scan:
    """`Pieces` of an RDB that is written here. `flaws` say of what something could not be kept, and why."""

    def __init__(self, place: Place) -> None:
        self.flaws: list[str] = []
        self.in_parts = 0
        self._connection = Connection(place)
        self._database = 0
        self._single = False
        self._run = ""
        self._sent = time.monotonic()
        self._ttl, self._read = "PTTL", _read("PTTL")
        self._made = self._stream()
        self._rest = memoryview(b"")

    def readinto(self, buffer: memoryview, /) -> int:
        at = 0
        while at < len(buffer):
            if not self._rest:
                self._rest = memoryview(next(self._made, b""))
                if not self._rest:
                    break
            count = min(len(self._rest), len(buffer) - at)
            buffer[at : at + count] = self._rest[:count]
            self._rest = self._rest[count:]
            at += count
        return at

    def close(self) -> None:
        self._made.close()
        self._connection.close()

    def _stream(self) -> Generator[bytes, None, None]:
        checksum = 0
        for piece in self._pieces():
            checksum = rdb.crc64(piece, checksum)
            if piece:
                yield piece
        yield checksum.to_bytes(rdb.TRAILER, "little")

    def _pieces(self) -> Iterator[bytes]:
        if has_lost_its_primary(self._connection):
            # One that waits for its first copy holds nothing yet. A snapshot is refused by the server itself then.
            raise Unavailable(
                f"{self._connection.place.shown} is a replica that is not in touch with its primary: mend the"
                " replication, or name the primary"
            )
        self._single = mode(self._connection) == "cluster"
        server = info(self._connection, "server")
        self._run = server.get("run_id", "")
        known = self._connection.ask_all([("COMMAND", "INFO", "PEXPIRETIME")])[0]
        if isinstance(known, list) and known and known[0]:
            # 7.0 and later: exact to the millisecond.
            self._ttl, self._read = "PEXPIRETIME", _read("PEXPIRETIME")
        functions = self._functions()
        version = int.from_bytes(functions[-10:-8], "little") if functions else _version(server)
        yield rdb.magic(version)
        yield bytes([rdb.AUX]) + rdb.string(b"redis-ver") + rdb.string(server.get("redis_version", "").encode())
        yield functions[: -rdb.FOOTER]
        for database in databases(self._connection):
            self._database = database
            self._refresh()
            self._connection.ask("SELECT", database)
            yield bytes([rdb.SELECT]) + rdb.length(database)
            yield from self._keys()
        yield bytes([rdb.EOF])

    def _functions(self) -> bytes:
        """As FUNCTION DUMP gives them, which is a stretch of an RDB; empty for a server that has none."""
        try:
            dumped: bytes = self._connection.call("FUNCTION", "DUMP")
        except ErrorReply as error:
            if not error.is_forbidden:
                raise self._connection.translated(error, "FUNCTION DUMP") from error
            if error.code == "NOPERM":
                self.flaws.append("the functions: this user may not read them (+function|dump)")
            return b""
        return dumped

    def _keys(self) -> Iterator[bytes]:
        connection, seen = self._connection, Seen()
        at_once = _SINGLE_AT_ONCE if self._single else _AT_ONCE
        connection.send([("SCAN", 0, "COUNT", _COUNT)])
        while True:
            cursor, names = self._reply("SCAN")
            self._refresh()
            fresh = seen.new(names)
            connection.send_raw(b"".join([_SIZE % (len(name), name) for name in fresh]))
            batches, large = self._sized(fresh)
            made: list[bytes] = []
            for start in range(0, len(batches), at_once):
                if start:
                    yield from made
                    self._refresh()
                group = batches[start : start + at_once]
                for batch in group:
                    self._send_batch(batch)
                if cursor != b"0" and start + at_once >= len(batches):
                    # The server looks for the next keys while these are read here.
                    connection.send([("SCAN", cursor, "COUNT", _COUNT)])
                self._sent = time.monotonic()
                made = [self._read_batch(batch) for batch in group]
            if cursor != b"0" and not batches:
                connection.send([("SCAN", cursor, "COUNT", _COUNT)])
            yield from made
            if large:
                # On a connection of its own: here the reply to SCAN may be on its way.
                yield from self._large_keys(large)
            if cursor == b"0":
                return

    def _refresh(self) -> None:
        """Servers end connections that are silent for long, as this one is while a large key is read, or what was read
        waits for room. Called while nothing is under way; a cursor of SCAN is good on any connection to the server."""
        connection, now = self._connection, time.monotonic()
        silent, self._sent = now - self._sent, now
        if silent < _SILENT or not self._run:
            return
        connection.close()
        if info(connection, "server").get("run_id") != self._run:
            raise Unavailable(f"{connection.place.shown} was restarted while it was read: this is tried again later")
        connection.ask("SELECT", self._database)

    def _reply(self, what: str) -> Any:
        try:
            return self._connection.reply()
        except ErrorReply as error:
            raise self._connection.translated(error, what) from error

    def _sized(self, names: list[bytes]) -> tuple[list[list[bytes]], list[tuple[bytes, int]]]:
        """Batches of small keys, and the large ones with their sizes. Keys that are gone are left out."""
        batches: list[list[bytes]] = []
        most = 0 if self._single else _BATCH
        doubtful: list[tuple[bytes, int]] = []
        weight = _BATCH
        for name, line in zip(names, self._connection.lines(len(names)), strict=True):
            if line[:1] != b":":
                if line[:1] == b"-":
                    raise self._connection.translated(ErrorReply(line[1:].decode(errors="replace")), "MEMORY USAGE")
                continue
            size = int(line[1:])
            if size > _DOUBTFUL:
                doubtful.append((name, size))
                continue
            weight += size
            if weight > most:
                batches.append([])
                weight = size
            batches[-1].append(name)
        small, large = self._judged(doubtful)
        return batches + [[name] for name in small], large

    def _judged(self, sized: list[tuple[bytes, int]]) -> tuple[list[bytes], list[tuple[bytes, int]]]:
        """Keys to be read at once, and those to be read in parts. By what they hold, not by the memory that takes: a
        restored copy must be read in the same way, or its digest would be another."""
        if not sized:
            return [], []
        kinds = self._connection.ask_all([("TYPE", name) for name, _ in sized])
        counted = [
            (name, size, _COUNTING[kind]) for (name, size), kind in zip(sized, kinds, strict=True) if kind in _COUNTING
        ]
        counts = self._connection.ask_all([(command, name) for name, _, (command, _) in counted])
        for reply in (*kinds, *counts):
            if isinstance(reply, ErrorReply) and reply.code != "WRONGTYPE":
                raise self._connection.translated(reply, "TYPE")
        large = [
            (name, size)
            for (name, size, (_, most)), count in zip(counted, counts, strict=True)
            if isinstance(count, int) and (count > most or size > _HEAVY)
        ]
        # What only a DUMP gives, such as a stream, goes through a file, and not several at once.
        large += [
            each
            for each, kind in zip(sized, kinds, strict=True)
            if kind not in (b"none", *_COUNTING) and each[1] > _HEAVY
        ]
        parted = {name for name, _ in large}
        return [name for name, _ in sized if name not in parted], large

    def _send_batch(self, names: list[bytes]) -> None:
        read = self._read
        commands = b"".join([read % (len(name), name, len(name), name) for name in names])
        self._connection.send_raw(_BEGIN + commands + _END)

    def _read_batch(self, names: list[bytes]) -> bytes:
        connection = self._connection
        self._reply("MULTI")
        if not connection.all_are(b"QUEUED", 1 + 2 * len(names)):
            for _ in range(1 + 2 * len(names)):
                self._reply("DUMP")
        head = connection.line()
        if head[:1] != b"*":
            raise connection.translated(ErrorReply(head[1:].decode(errors="replace")), "DUMP")
        now = self._now(connection.reply())
        parts: list[bytes] = []
        for name, (dumped, left) in zip(names, connection.bulks_and_numbers(len(names)), strict=True):
            if dumped is not None:
                parts += (_expiry(now, left), dumped[:1], rdb.string(name), dumped[1 : -rdb.FOOTER])
        return b"".join(parts)

    def _now(self, time: list[bytes]) -> int:
        """What an expiry counts from, in milliseconds."""
        return 0 if self._ttl == "PEXPIRETIME" else int(time[0]) * 1000 + int(time[1]) // 1000

    def _large_keys(self, sized: list[tuple[bytes, int]]) -> Iterator[bytes]:
        for name, size in sized:
            with Connection(self._connection.place) as connection:
                connection.ask("SELECT", self._database)
                yield from self._large_key(connection, name, size)

    def _large_key(self, connection: Connection, name: bytes, size: int) -> Iterator[bytes]:
        with Parts(connection, name, size) as parts:
            whole = parts.read()
            left = connection.ask(self._ttl, name)
            if left == -2:
                return
            head = _expiry(self._now(connection.ask("TIME")), left)
            if whole:
                self.in_parts += 1
                if parts.flaw:
                    self.flaws.append(f"the key `{shown(name)}`: {parts.flaw}")
                yield head + bytes([parts.kind]) + rdb.string(name)
                yield from parts.pieces()
            elif parts.kind == rdb.MODULE and parts.dump():
                yield head + bytes([parts.kind]) + rdb.string(name)
                yield from parts.dumped()


def _version(server: dict[str, str]) -> int:
    """The RDB version of a server without functions, all of which are older than 7.0."""
    try:
        major, minor = (int(part) for part in server.get("redis_version", "6.0").split(".")[:2])
    except ValueError:
        return 9
    return 9 if major >= 5 else 8 if major == 4 else 7 if (major, minor) >= (3, 2) else 6


def _read(ttl: str) -> bytes:
    """The commands that read one key, with room for its name."""
    return b"*2\r\n$4\r\nDUMP\r\n$%%d\r\n%%b\r\n*2\r\n$%d\r\n%b\r\n$%%d\r\n%%b\r\n" % (len(ttl), ttl.encode())


def _expiry(now: int, left: int) -> bytes:
    return bytes([rdb.EXPIRY]) + (now + left).to_bytes(8, "little", signed=True) if left >= 0 else b""

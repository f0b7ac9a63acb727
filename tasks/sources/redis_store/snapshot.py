"""A point in time over the replication protocol: the server forks, and sends what it held at that moment as an RDB.

It is asked as a replica asks (SYNC), but for the RDB alone where the server knows how (REPLCONF rdb-only, 7.0): then it
keeps no stream of changes for us. Two forms: from the server's disk, at once; or straight from the forked process
(`capa eof`), before which most servers wait `repl-diskless-sync-delay` seconds, five by default, for more replicas.
"""

from __future__ import annotations

import time
from contextlib import suppress

from tasks.errors import Refused, Unavailable
from tasks.sources.redis_store.connection import Connection, ErrorReply
from tasks.sources.redis_store.place import Place

PREPARING = 3600.0
"""Seconds that a server may take before the first byte of its snapshot comes, as long as it says that it is at it."""
_MARK = 40
_NEWEST = "255.255.255"


def forbids_snapshots(connection: Connection) -> str:
    """Why this server will not give a snapshot to this user; empty if it will, or if only trying can tell."""
    known, user = connection.ask_all([("COMMAND", "INFO", "SYNC"), ("ACL", "WHOAMI")])
    if isinstance(known, list) and known and known[0] is None:
        return "this server has no SYNC, as managed services do not"
    if isinstance(user, bytes):
        tried = connection.ask_all([("ACL", "DRYRUN", user, "SYNC")])[0]
        if isinstance(tried, bytes) and tried != b"OK":
            return f"the user `{_said(user)}` may not: {_said(tried)}"
    return ""


def _said(reply: bytes) -> str:
    return reply.decode("utf-8", "backslashreplace")


class Forbidden(Exception):
    """The server gives this user no snapshot; the text says why."""

    def refused(self, place: Place) -> Refused:
        return Refused(
            f"{place.shown} gives no snapshot: {self}; grant `+sync +replconf`, or let `method` be `auto`, which scans"
        )


class Snapshot:
    """`Pieces` of one snapshot. Raises `Forbidden`, `Unavailable`; holds the server's connection until it is closed."""

    def __init__(self, place: Place) -> None:
        self._connection = Connection(place)
        self._left = 0
        self._mark = b""
        self._held = b""
        self._ended = False

    def open(self) -> None:
        """Ask for it, and wait until the server has it ready."""
        streams = self._streams_at_once()
        try:
            self._ask(streamed=streams)
        except Unavailable:
            if streams:
                raise
            # A server whose disk is full or read-only can still send it without one.
            self._connection.close()
            self._ask(streamed=True)

    def readinto(self, buffer: memoryview, /) -> int:
        if self._mark:
            return self._read_to_mark(buffer)
        if not self._left:
            return 0
        count = self._connection.readinto(buffer[: self._left])
        self._left -= count
        return count

    def close(self) -> None:
        self._connection.close()

    def _streams_at_once(self) -> bool:
        asked = [("CONFIG", "GET", name) for name in ("repl-diskless-sync", "repl-diskless-sync-delay")]
        replies = self._connection.ask_all(asked)
        values = [reply[1] if isinstance(reply, list) and len(reply) == 2 else b"" for reply in replies]
        return values == [b"yes", b"0"]

    def _ask(self, *, streamed: bool) -> None:
        connection = self._connection
        # Servers before 7.0 do not know it, and send changes behind the snapshot until the connection is closed.
        connection.ask_all([("REPLCONF", "rdb-only", "1")])
        # To who does not say how new it is, Valkey 9 streams a form so old that it has no fields that expire.
        connection.ask_all([("REPLCONF", "version", _NEWEST)])
        if streamed:
            connection.ask_all([("REPLCONF", "capa", "eof")])
        connection.send([("SYNC",)])
        deadline = time.monotonic() + PREPARING
        while connection.byte() == 0x0A:
            if time.monotonic() > deadline:
                connection.close()
                raise Unavailable(
                    f"{connection.place.shown} has prepared its snapshot for {PREPARING / 60:.0f} minutes and is not"
                    " done: is its disk slow, or another snapshot stuck?"
                )
        connection.unread()
        line = connection.line()
        if line[:1] == b"-":
            error = ErrorReply(line[1:].decode("utf-8", "backslashreplace"))
            if error.is_forbidden:
                raise Forbidden(str(error))
            raise connection.translated(error, "a snapshot (SYNC)")
        if line.startswith(b"$EOF:") and len(line) == 5 + _MARK:
            self._mark = line[5:]
        else:
            with suppress(ValueError):
                self._left = int(line[1:]) if line[:1] == b"$" else 0
        if not self._mark and not self._left:
            connection.close()
            raise Unavailable(f"{connection.place.shown} answered SYNC with something else than a snapshot")

    def _read_to_mark(self, buffer: memoryview) -> int:
        """The last bytes are held back, as they may be the mark that ends the snapshot."""
        if self._ended:
            return 0
        room = memoryview(bytearray(len(buffer) + _MARK)) if len(buffer) <= _MARK else buffer
        held = len(self._held)
        room[:held] = self._held
        end = held
        while True:
            end += self._connection.readinto(room[end:])
            if end >= _MARK and bytes(room[end - _MARK : end]) == self._mark:
                self._ended = True
                break
            if end > _MARK:
                break
        give = min(end - _MARK, len(buffer))
        if room is not buffer:
            buffer[:give] = room[:give]
        self._held = bytes(room[give:end]) if not self._ended else b""
        return give

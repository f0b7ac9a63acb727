"""What `pg_dump` is left to do: the schema, and large objects, as archives that `pg_restore` reads."""

from __future__ import annotations

from tasks.item import Entry, Reading
from tasks.sources.postgresql.child import Child
from tasks.sources.postgresql.moment import Moment
from tasks.sources.postgresql.programs import Programs

SCHEMA = ("--section=pre-data", "--section=post-data")
NO_LARGE_OBJECTS = ("--no-blobs",)
"""Else each is made, and stays empty, before its content would come."""
LARGE_OBJECTS = ("--section=data", "--blobs", "--exclude-schema=*")

_HEAD = 64
_INT = 5
_TIME = 7 * _INT


def dump(moment: Moment, programs: Programs, *parts: str) -> Child:
    """A `pg_dump` of the moment, not compressed. It waits for no lock longer than everything else does."""
    command = [programs.path("pg_dump"), "--format=custom", "--compress=0", "--no-password", *parts]
    command += [f"--snapshot={moment.snapshot}", f"--lock-wait-timeout={round(1000 * moment.patience.lock)}"]
    command.append(f"--dbname={moment.server.argument}")
    return moment.start(command, doing="pg_dump fails")


class DumpStream:
    """A `Stream` of an archive. The time of its making, in its head, is set to 1 January 2000: the same schema is the
    same bytes every night."""

    def __init__(self, moment: Moment, child: Child, entry: Entry) -> None:
        self._moment, self._child, self._entry = moment, child, entry
        self._head, self._started = b"", False
        self._size = 0

    def readinto(self, buffer: memoryview, /) -> int:
        if not self._started:
            self._started = True
            while len(self._head) < _HEAD and (more := self._child.read(_HEAD - len(self._head))):
                self._head += more
            self._head = without_time(self._head)
        if self._head:
            count = min(len(buffer), len(self._head))
            buffer[:count] = self._head[:count]
            self._head = self._head[count:]
        else:
            count = self._child.readinto(buffer)
        self._size += count
        return count

    def close(self) -> Reading:
        self._moment.forget(self._child)
        return Reading(self._entry._replace(size=self._size))


def without_time(head: bytes) -> bytes:
    """The head of a custom archive, pg_backup_archiver.c: magic, three bytes of version, the sizes of an integer and an
    offset, the format, how it is compressed (an integer, since version 1.15 a byte), then seven integers of time."""
    if not head.startswith(b"PGDMP") or len(head) < _HEAD or head[8] != _INT - 1:
        return head
    at = 11 + (_INT if tuple(head[5:7]) < (1, 15) else 1)
    # Seconds, minutes, hours, day, month from 0, years since 1900, daylight saving; a byte of sign before each.
    time = b"".join(b"\0" + value.to_bytes(_INT - 1, "little") for value in (0, 0, 0, 1, 0, 100, 0))
    return head[:at] + time + head[at + _TIME :]

"""The bytes of one local file, read so that what is stored is either what the file was, or is known not to be."""

from __future__ import annotations

import errno
import os
import stat
import time

from tasks.item import Entry, Reading, Unreadable, Vanished
from tasks.sources.extended_attributes import attributes_of_file
from tasks.sources.extents import SMALLEST, data_extents
from tasks.sources.file_entry import OwnerNames, file_entry

PARTIAL = "partial"
"""The flaw of a reading that may mix two states of a file, or lacks its end or its attributes."""

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR})
_SECOND = 1_000_000_000
_TICK = _SECOND // 50


class FileStream:
    """A `Stream` of the open file `number`, which it closes, and which `entry` describes as it was when it was listed.

    A file that changed since then is taken as it is now. One that changes *while it is read* is flawed, unless
    `may_grow` is set and it only grew: then exactly what it held at opening is taken. Either way it is marked to be
    read again. Holes are looked for where it has fewer blocks than its size takes, or with `all_holes` in any case: the
    blocks that list the others count too, and a copy may have more of those. Raises `Vanished` for what is no file any
    more, and `Unreadable`.
    """

    __slots__ = ("_again", "_entry", "_lacks", "_may_grow", "_number", "_offset", "_owners", "_runs", "_short")

    def __init__(
        self, number: int, entry: Entry, owners: OwnerNames, may_grow: bool = False, *, all_holes: bool = False
    ) -> None:
        self._number = number
        try:
            status = os.fstat(number)
            if not stat.S_ISREG(status.st_mode):
                raise Vanished("something that is no file has taken its place")
            if not is_as_listed(entry, status):
                entry = file_entry(entry.path, status, owners)
        except OSError as error:
            raise translated(error) from error
        self._lacks = False
        try:
            if attributes := attributes_of_file(number):
                entry = entry._replace(xattrs=attributes)
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise translated(error) from error
            self._lacks = True  # the kernel lists no more than 64 KiB of their names
        size = entry.size
        self._runs = [(0, size)] if size else []
        self._offset = 0
        if size >= SMALLEST and (all_holes or status.st_blocks * 512 < size):
            extents = data_extents(number, size)
            if extents is not None:
                entry = entry._replace(extents=extents)
                self._runs = [(start, start + length) for start, length in reversed(extents)]
                self._offset = extents[0][0] if extents else 0
        self._entry = entry
        self._owners = owners
        self._may_grow = may_grow
        self._short = False
        self._again = is_young(entry, time.time_ns())

    def __del__(self) -> None:
        if self._number >= 0:
            os.close(self._number)

    @property
    def entry(self) -> Entry:
        """The file as it was when it was opened."""
        return self._entry

    def only(self, start: int, end: int) -> None:
        """Before anything is read: give these bytes and no others. Raises `Unreadable` where there are holes."""
        if self._entry.extents is not None:
            raise Unreadable("it has holes now")
        self._runs, self._offset = [(start, end)], start

    def readinto(self, buffer: memoryview, /) -> int:
        filled, runs = 0, self._runs
        while runs and filled < len(buffer):
            offset, end = self._offset, runs[-1][1]
            room = buffer[filled:] if filled else buffer
            if len(runs) > 1 and end - offset < len(room):
                room = room[: end - offset]
            try:
                count = os.preadv(self._number, (room,), offset)
            except OSError as error:
                raise translated(error) from error
            if offset + count >= end:
                count = end - offset
                runs.pop()
                self._offset = runs[-1][0] if runs else end
            else:
                self._offset = offset + count
                if not count:
                    self._short = True
                    runs.clear()
            filled += count
        return filled

    def close(self) -> Reading:
        entry = self._entry
        try:
            status = os.fstat(self._number)
            # Files of the kernel's own (/proc, /sys) say that they are empty, whatever they hold.
            lacks = self._lacks or (
                not (entry.size or self._may_grow or status.st_size) and os.pread(self._number, 1, 0)
            )
        except OSError as error:
            raise translated(error) from error
        os.close(self._number)
        self._number = -1
        whole = not (self._short or lacks)
        if whole and is_as_listed(entry, status):
            return Reading(as_to_be_read_again(entry) if self._again else entry)
        if whole and self._may_grow and status.st_size >= entry.size:
            return Reading(as_to_be_read_again(entry))
        return Reading(self._as_read(status), PARTIAL)

    def _as_read(self, status: os.stat_result) -> Entry:
        """The entry of a file that changed meanwhile: its new status, but the size of what was read."""
        entry = self._entry
        size, extents = entry.size, entry.extents
        if self._short:
            size = self._offset
            if extents is not None:
                extents = tuple((start, min(length, size - start)) for start, length in extents if start < size)
        return file_entry(entry.path, status, self._owners)._replace(
            size=size, version=(0, entry.version[1]), xattrs=entry.xattrs, extents=extents
        )


def is_as_listed(entry: Entry, status: os.stat_result) -> bool:
    """Whether this is the file of the entry, unchanged: whatever changes content, attributes or times sets a ctime."""
    return entry.version == (status.st_ctime_ns, status.st_ino) and entry.size == status.st_size


def is_young(entry: Entry, now: int) -> bool:
    """Whether a file that is read from `now` on, in ns, had changed so lately that another change may leave no trace:
    within the clock tick of the last one the times stay as they are, and some file systems count in whole seconds."""
    changed = entry.version[0]
    return now - changed < (_TICK if changed % _SECOND else 2 * _SECOND)


def as_to_be_read_again(entry: Entry) -> Entry:
    """The entry of a file that is not trusted to be unchanged next time."""
    return entry._replace(version=(0, entry.version[1]))


def translated(error: OSError) -> Vanished | Unreadable:
    """What an error that came while a file was opened or read means for its item."""
    if error.errno in _GONE:
        return Vanished(error.strerror)
    return Unreadable(error.strerror or str(error))

"""The items of everything that is no folder. A file with several names brings its content under the first one only."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Mapping
from functools import partial

from tasks.item import HARDLINK, Entry, Item, Unreadable, Vanished
from tasks.sources.extended_attributes import attributes_of_name
from tasks.sources.file_entry import OwnerNames, file_entry, other_entry
from tasks.sources.file_reader import FileReader
from tasks.sources.file_stream import FileStream
from tasks.sources.hnsw import ROWS, columns_beside
from tasks.sources.manner import Manner
from tasks.sources.open_folders import Descriptor

_NUMBER = struct.Struct("<QQ")
_STATE = struct.Struct("<QQQ")
"""Size, time of change and names yet to come of a file under its first name, which follows."""
_64_BITS = (1 << 64) - 1
_ROWS = b"/" + ROWS
_TYPE, _REGULAR = 0o170000, stat.S_IFREG
_new = tuple.__new__


class Leaves:
    """Makes the items of one pass. Remembers the numbers of files that have names yet to come."""

    def __init__(
        self,
        owners: OwnerNames,
        manner: Manner,
        links: Mapping[bytes, bytes] | None = None,
        status_of: Callable[[bytes], os.stat_result] = os.lstat,
    ) -> None:
        """`links`: paths whose content comes, or has come, under another one, which is not met here; `status_of` that
        one tells whether it is so still."""
        self._links, self._status_of = links or {}, status_of
        self._owners = owners
        self._cut, self._want_digest = manner.cut, manner.want_digest
        self._first_names: dict[bytes, bytes] = {}  # packed: there may be a million of them

    def item(self, reader: FileReader, folder: Descriptor, path: bytes, status: os.stat_result) -> Item:
        """The item of what `folder` holds, by the status just taken of it. Raises `OSError` if it is gone."""
        if status.st_mode & _TYPE != _REGULAR:
            return Item(self._without_bytes(folder, path, status))
        entry = file_entry(path, status, self._owners)
        columns: tuple[int, ...] = ()
        if path.endswith(_ROWS):
            columns = columns_beside(folder, status.st_size, own=self._owners.reader in (0, status.st_uid))
        if status.st_nlink == 1:
            # As `Item(...)`: this is done for every file of every night.
            opening = partial(reader.open, entry)
            return _new(Item, (entry, opening, self._cut, self._want_digest, columns, reader.at_once, 0))
        number = _number(status)
        if first := self._first_name(number, path, status):
            return Item(entry._replace(type=HARDLINK, link=first, version=(0, 0)))
        first_opening = partial(self._open_first, reader, number, entry)
        return Item(entry, first_opening, self._cut, self._want_digest, columns)

    def _without_bytes(self, folder: Descriptor, path: bytes, status: os.stat_result) -> Entry:
        entry = other_entry(path, status, self._owners)
        name = path.rpartition(b"/")[2]
        if stat.S_ISLNK(status.st_mode):
            entry = entry._replace(link=os.readlink(name, dir_fd=folder.number))
        if attributes := attributes_of_name(folder.number, name):
            entry = entry._replace(xattrs=attributes)
        return entry

    def _first_name(self, number: bytes, path: bytes, status: os.stat_result) -> bytes | None:
        """The path under which this file was met before, or is met elsewhere; None, and remembered, the first time.
        That is now too if it has changed since, or is another one that was given the number of one that is gone: what
        was stored under the name before is not what this one holds."""
        if (elsewhere := self._links.get(path)) and self._is(number, elsewhere):
            return elsewhere
        size, changed, left = status.st_size, status.st_mtime_ns & _64_BITS, status.st_nlink
        first = b""
        if known := self._first_names.pop(number, None):
            *state, left = _STATE.unpack_from(known)
            if state == [size, changed]:
                first = known[_STATE.size :]
        if left > 1:
            self._first_names[number] = _STATE.pack(size, changed, left - 1) + (first or path)
        return first or None

    def _is(self, number: bytes, path: bytes) -> bool:
        try:
            status = self._status_of(path)
        except (OSError, KeyError):
            return False
        return stat.S_ISREG(status.st_mode) and _number(status) == number

    def _open_first(self, reader: FileReader, number: bytes, entry: Entry) -> FileStream:
        try:
            return reader.open(entry)
        except (Vanished, Unreadable):
            # Its next name, not this one, has to bring the content then.
            self._first_names.pop(number, None)
            raise


def _number(status: os.stat_result) -> bytes:
    """What no other file has at the same time."""
    return _NUMBER.pack(status.st_dev & _64_BITS, status.st_ino & _64_BITS)

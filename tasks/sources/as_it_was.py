"""What is in the place of a file that is to be restored over it, if all but its bytes is known to be right."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from io import FileIO

from tasks.item import Entry
from tasks.sources.extended_attributes import attributes_of_file
from tasks.sources.metadata import Metadata
from tasks.sources.open_folders import OPEN_FILE, Descriptor


class AsItWas(FileIO):
    """An open file, and what was known of it before it is read."""

    def __init__(self, number: int, before: os.stat_result) -> None:
        super().__init__(number)
        self._before = _state(before)

    def stayed(self) -> bool:
        return _state(os.fstat(self.fileno())) == self._before


def opened_as_it_was(parent: Descriptor, name: bytes, entry: Entry, metadata: Metadata) -> AsItWas | None:
    """To compare its bytes; None where it has another size, time, owner, permission or attribute, or holes, or further
    names: then it is replaced."""
    if entry.extents is not None:
        return None
    with suppress(OSError):
        before = os.stat(name, dir_fd=parent.number, follow_symlinks=False)
        if not _looks_like(before, entry, metadata):
            return None
        file = AsItWas(os.open(name, OPEN_FILE, dir_fd=parent.number), before)
        with suppress(OSError):
            if file.stayed() and attributes_of_file(file.fileno()) == entry.xattrs:
                return file
        file.close()
    return None


def _state(status: os.stat_result) -> tuple[int, ...]:
    """What does not stay if it is written, given something, or loses its name to another file."""
    return status.st_dev, status.st_ino, status.st_nlink, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _looks_like(status: os.stat_result, entry: Entry, metadata: Metadata) -> bool:
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_nlink == 1
        and (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)
        and metadata.is_given(status, entry)
    )

"""A further name of a file that was restored before: whether that is the file, and what comes if it can have none."""

from __future__ import annotations

import os
import stat
import time
from typing import NamedTuple

from tasks.item import Entry
from tasks.sources.extents import data_extents
from tasks.sources.metadata import Metadata
from tasks.sources.open_folders import OPEN_FILE, Descriptor
from tasks.sources.target_path import CREATE, NO_LINKS

_BUFFER = 1 << 20


class FurtherName(NamedTuple):
    """Of the file that the open folder `folder` has as `first`; `entry` is the hard link's. All raise `OSError`."""

    folder: Descriptor
    first: bytes
    entry: Entry

    def status(self) -> os.stat_result:
        return os.stat(self.first, dir_fd=self.folder.number, follow_symlinks=False)

    def is_of(self, status: os.stat_result, began: int) -> bool:
        """Whether the file with this status is what was restored of the one that is meant. `began`: the time of the
        file system, in ns, at which the restore made its first file."""
        if not stat.S_ISREG(status.st_mode) or status.st_size != self.entry.size:
            return False
        if status.st_mtime_ns == self.entry.mtime_ns:
            return True
        if status.st_ctime_ns < began:
            return False
        # A file system that counts in seconds, or not that far, has made another time of it: would it of this one too?
        self._give_time(self.entry.mtime_ns)
        same = self.status().st_mtime_ns == status.st_mtime_ns
        if not same:
            self._give_time(status.st_mtime_ns)
        return same

    def _give_time(self, changed: int) -> None:
        os.utime(self.first, ns=(time.time_ns(), changed), dir_fd=self.folder.number, follow_symlinks=False)

    def link(self, parent: int, name: bytes) -> bool:
        """Whether the file could be given it: not all can have so many."""
        try:
            os.link(self.first, name, src_dir_fd=self.folder.number, dst_dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            if error.errno in NO_LINKS:
                return False
            raise
        return True

    def copy(self, parent: int, name: bytes, metadata: Metadata) -> None:
        """Make `name` a file of its own, with the same content."""
        source = Descriptor(os.open(self.first, OPEN_FILE, dir_fd=self.folder.number))
        target = Descriptor(os.open(name, CREATE, 0o600, dir_fd=parent))
        try:
            size = os.fstat(source.number).st_size
            extents = data_extents(source.number, size)
            for start, length in ((0, size),) if extents is None else extents:
                at, end = start, start + length
                while at < end and (data := os.pread(source.number, min(_BUFFER, end - at), at)):
                    at += os.pwrite(target.number, data, at)
            os.ftruncate(target.number, size)
            metadata.give(target.number, self.entry)
        except BaseException:  # whatever ended it: what is half done has a name that it must not keep
            os.unlink(name, dir_fd=parent)
            raise

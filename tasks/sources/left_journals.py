"""What SQLite had left beside a database that a restore replaces, and that is not in the snapshot: whoever opens the
database next has SQLite write the pages of the old one over it."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from tasks.sources.not_restored import NotRestored
from tasks.sources.open_folders import OPEN_FILE, Descriptor, OpenFolders

_MAGIC = b"SQLite format 3\0"
"""https://www.sqlite.org/fileformat2.html"""
JOURNALS = ("-journal", "-wal")
"""What their names have at the end: https://www.sqlite.org/tempfiles.html"""
_ENDS = tuple(map(os.fsencode, JOURNALS))
_WHAT = "it is from before, and SQLite would apply it to the database that was restored beside it: remove it"


class LeftJournals:
    """Of the files that are restored over others. No file that is not in the snapshot is removed; these are told."""

    def __init__(self) -> None:
        self._found: list[tuple[bytes, bytes]] = []
        self._looked = 0

    def look(self, folder: Descriptor, name: bytes, path: bytes) -> None:
        """Beside a file that was restored, or stays as what it is restored to."""
        self._looked = self._looked or time.time_ns()
        for end in _ENDS:
            with suppress(OSError):
                os.stat(name + end, dir_fd=folder.number, follow_symlinks=False)
                self._found.append((path, end))

    def tell(self, folders: OpenFolders, began: int, missed: NotRestored) -> None:
        """Once all is restored; `began`: when the first file was made, in ns of that file system's clock, or 0."""
        for path, end in self._found:
            parent, _, name = path.rpartition(b"/")
            with suppress(OSError):
                folder = folders.at(parent)
                status = os.stat(name + end, dir_fd=folder.number, follow_symlinks=False)
                file = Descriptor(os.open(name, OPEN_FILE, dir_fd=folder.number))
                if status.st_ctime_ns < (began or self._looked) and os.pread(file.number, len(_MAGIC), 0) == _MAGIC:
                    missed.add(_WHAT, path + end)

"""What is where files are to be restored, looked at before anything is written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tasks.item import FIFO, FILE, FOLDER, HARDLINK, SYMLINK, Stored
from tasks.sources.open_folders import Descriptor, OpenFolders
from tasks.sources.target_path import OPEN_FOLDER, InOrder, is_a_folder, is_no_folder, is_there, translated

_MADE = (FILE, FOLDER, HARDLINK, SYMLINK, FIFO)


class Survey:
    """Show it each item, in order. `there`: the folders among them that were there already, and are not to be changed.

    `see` raises `UnsafePath` for a path that leads out, or through a link; `Occupied` where something is in the way,
    with `overwrite` only what is never replaced.
    """

    def __init__(self, into: Path, *, overwrite: bool) -> None:
        self.there: set[bytes] = set()
        self._overwrite = overwrite
        self._order = InOrder()
        self._absent = b""
        try:
            self._folders = OpenFolders(Descriptor(os.open(into, OPEN_FOLDER)))
        except OSError as error:
            raise translated(error, os.fsencode(into)) from error

    def see(self, item: Stored) -> None:
        path, kind = item.entry.path, item.entry.type
        self._order.check(item)
        if kind not in _MADE or (self._absent and path.startswith(self._absent)):
            return
        try:
            mode = self._mode(path)
        except OSError as error:
            raise translated(error, path) from error
        if mode is None:
            if kind == FOLDER:
                self._absent = path + b"/"
        elif kind != FOLDER:
            if stat.S_ISDIR(mode):
                raise is_a_folder(path)
            if not self._overwrite:
                raise is_there(path)
        elif not stat.S_ISDIR(mode):
            raise is_no_folder(path)
        elif not self._overwrite:
            self.there.add(path)

    def _mode(self, path: bytes) -> int | None:
        folder, _, name = path.rpartition(b"/")
        try:
            return os.stat(name, dir_fd=self._folders.at(folder).number, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None

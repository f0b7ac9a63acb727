"""The folders below the one to restore to, made where need be."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tasks.sources.open_folders import Descriptor, OpenFolders
from tasks.sources.target_path import OPEN_FOLDER, check_path, is_no_folder, is_plain, make_top, translated

_OWN = 0o700
_LOOK = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TargetFolders(OpenFolders):
    """`opened` is told the number of each folder that is come to, before anything is made in it."""

    def __init__(self, into: Path, opened: Callable[[int], None]) -> None:
        try:
            make_top(into)
            top = Descriptor(os.open(into, OPEN_FOLDER))
        except OSError as error:
            raise translated(error, os.fsencode(into)) from error
        super().__init__(top, limit=64)
        self._opened = opened
        self._last: tuple[bytes, Descriptor] | None = None
        """The folder that was placed in last: mostly the next file goes there too."""
        opened(top.number)

    def place(self, path: bytes) -> tuple[Descriptor, bytes]:
        """The open folder that `path` is in, made if need be, and its name there. Raises `UnsafePath`, `OSError`."""
        folder, _, name = path.rpartition(b"/")
        last = self._last  # once: other threads place files too
        if last and last[0] == folder and is_plain(name):
            return last[1], name
        check_path(path)
        try:
            descriptor = self.at(folder)
        except FileNotFoundError:
            self._make_all(folder)
            descriptor = self.at(folder)
        self._opened(descriptor.number)
        self._last = folder, descriptor
        return descriptor, name

    def make(self, path: bytes, *, let_in: bool) -> bool:
        """False where it was there: then `let_in` has its owner get into it. Raises `Occupied`, `UnsafePath`,
        `OSError`."""
        parent, name = self.place(path)
        try:
            os.mkdir(name, 0o700, dir_fd=parent.number)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent.number, follow_symlinks=False).st_mode):
                raise is_no_folder(path) from None
            if let_in:
                _let_in(parent, name)
            return False
        return True

    def _make_all(self, path: bytes) -> None:
        """The folders above something chosen on its own; for nobody else, as they may have been before."""
        made = b""
        for name in path.split(b"/"):
            parent = self.at(made)
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent.number)
            made = made + b"/" + name if made else name


def _let_in(parent: Descriptor, name: bytes) -> None:
    """Whoever owns a folder and may not read or change it may from now on. Where that is not allowed, whatever is done
    in it says so."""
    if os.access(name, os.R_OK | os.W_OK | os.X_OK, dir_fd=parent.number, effective_ids=True):
        return
    with suppress(OSError):
        folder = Descriptor(os.open(name, _LOOK, dir_fd=parent.number))
        mode = stat.S_IMODE(os.fstat(folder.number).st_mode) | _OWN
        if hasattr(os, "O_PATH"):
            os.chmod(f"/proc/self/fd/{folder.number}", mode)  # one without the right to be opened has no other way
        else:
            os.fchmod(folder.number, mode)

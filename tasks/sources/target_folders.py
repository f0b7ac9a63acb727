"""The folders below the one to restore to, made where need be."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tasks.sources.open_folders import Descriptor, OpenFolders
from tasks.sources.target_path import OPEN_FOLDER, check_path, is_plain, translated


class TargetFolders(OpenFolders):
    """`opened` is told the number of each folder that is come to, before anything is made in it."""

    def __init__(self, into: Path, opened: Callable[[int], None]) -> None:
        try:
            into.mkdir(parents=True, exist_ok=True)
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
            self._make(folder)
            descriptor = self.at(folder)
        self._opened(descriptor.number)
        self._last = folder, descriptor
        return descriptor, name

    def _make(self, path: bytes) -> None:
        """The folders above something chosen on its own; for nobody else, as they may have been before."""
        made = b""
        for name in path.split(b"/"):
            parent = self.at(made)
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent.number)
            made = made + b"/" + name if made else name

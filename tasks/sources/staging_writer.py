"""Files restored by one of several attempts: until all is there, what it writes has names that tell whose it is."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from tasks.errors import Refused
from tasks.item import HARDLINK, Stored
from tasks.sources.folder_writer import FolderWriter
from tasks.sources.open_folders import Descriptor
from tasks.sources.path_text import path_text
from tasks.sources.source import Restoring
from tasks.sources.target_file import identity
from tasks.sources.unfinished import Staged, give_name, remove, staged_name, staged_prefix


class StagingWriter(FolderWriter):
    """A `FolderWriter` for one attempt, named `attempt`. Files, links and pipes stay under names of that attempt beside
    where they belong, until `place` gives them theirs; with `how.overwrite` each has its own once it is complete.

    No other name begins as an attempt's does, so what has one is its own, whoever was killed. `there`: the folders that
    were there before the first attempt.
    """

    def __init__(self, into: Path, how: Restoring, attempt: str, there: Collection[bytes] = ()) -> None:
        self._staged = Staged(attempt, overwrite=how.overwrite)
        super().__init__(into, how, self._staged)
        self._attempt = attempt
        self._were_there.update(there)

    def place(self, item: Stored) -> None:
        """Give what the attempt wrote the name that it is to have, unless that was done before, or it is `left_out`.
        Replaces nothing. A hard link may be missing: `missed` said so. Raises `Occupied`, `Refused`, `UnsafePath`."""
        path = item.entry.path
        if path in self.left_out:
            return
        try:
            parent, name = self._place(path)
            staged = staged_name(self._attempt, path)
            try:
                give_name(parent, staged, name)
            except FileNotFoundError:
                if item.entry.type != HARDLINK:
                    _check_is_there(parent, name, path)
            except FileExistsError:
                ours = _identity(parent, staged)
                if ours is not None and ours != _identity(parent, name):
                    raise
            remove(parent, staged)
        except OSError as error:
            self._leave_out(path, error)

    def discard(self, path: bytes, attempt: str) -> None:
        """Remove what an attempt left of it under its own name."""
        with suppress(OSError):  # such as a folder that it never made
            os.unlink(staged_name(attempt, path), dir_fd=self._folders.at(path.rpartition(b"/")[0]).number)

    def discard_all(self) -> None:
        """Remove all that this writer left under its attempt's names; what is placed stays."""
        prefix = os.fsdecode(staged_prefix(self._attempt))
        for folder in self._staged.folders:
            with suppress(OSError):  # the error that ended the restore matters more
                number = self._folders.at(folder).number
                for name in os.listdir(number):
                    if name.startswith(prefix):
                        os.unlink(name, dir_fd=number)


def _check_is_there(folder: Descriptor, name: bytes, path: bytes) -> None:
    if _identity(folder, name) is None:
        raise Refused(f"`{path_text(path)}` was taken away by someone while it was restored; restore again")


def _identity(folder: Descriptor, name: bytes) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        return identity(os.stat(name, dir_fd=folder.number, follow_symlinks=False))
    return None

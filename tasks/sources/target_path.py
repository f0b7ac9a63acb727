"""Paths below the folder to restore to: which are safe, and what it means where the system refuses one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tasks.errors import TO_OVERWRITE, BackupError, NoSpace, Occupied, Refused, UnsafePath
from tasks.item import FOLDER, Stored
from tasks.sources.path_text import path_text

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
"""How the folder to restore to is opened: it may itself be a link, as whoever restores has named it."""
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a file in it is made: never over something, nor through a link."""
_NO_NAMES = frozenset({b"", b".", b".."})
_IN_THE_WAY = frozenset({errno.ELOOP, errno.ENOTDIR})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""How file systems say that a file can't have two names there, or no more of them."""


def is_plain(name: bytes) -> bool:
    """Whether it names something in a folder, and nothing elsewhere; it holds no slash."""
    return name not in _NO_NAMES and 0 not in name


def check_path(path: bytes) -> None:
    """Raises `UnsafePath` for a path that is not plainly below some folder."""
    if 0 in path or not _NO_NAMES.isdisjoint(path.split(b"/")):
        raise UnsafePath(
            f"the snapshot names the path `{path_text(path)}`, which leads out of the folder to restore to"
        )


class InOrder:
    """Checks the paths of items that come in their order."""

    def __init__(self) -> None:
        self._leaf = b""

    def check(self, item: Stored) -> None:
        """Raises `UnsafePath` for one that leads out, or is below something that is no folder."""
        path = item.entry.path
        check_path(path)
        if self._leaf and path.startswith(self._leaf):
            raise UnsafePath(f"the snapshot has `{path_text(path)}` below something that is no folder")
        self._leaf = b"" if item.entry.type == FOLDER else path + b"/"


def is_there(path: bytes) -> Occupied:
    return Occupied(f"`{path_text(path)}` is there already; restore to another folder, or {TO_OVERWRITE}")


def is_a_folder(path: bytes) -> Occupied:
    return Occupied(f"`{path_text(path)}` is a folder there, and no folder is ever removed; move it away")


def is_no_folder(path: bytes) -> Occupied:
    return Occupied(f"`{path_text(path)}` is to be a folder, but something else has that name; move it away")


def make_top(into: Path) -> None:
    """The folder that is restored to, and those above it, unless it is there. Raises `Occupied` for what is none, such
    as a link that leads nowhere, whatever may be overwritten; `OSError`."""
    try:
        into.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise is_no_folder(os.fsencode(into)) from error


def translated(error: OSError, path: bytes) -> BackupError:
    text = path_text(path)
    if error.errno in _IN_THE_WAY:
        return UnsafePath(
            f"`{text}` would be written through a link, or a file is where a folder must be; move it away"
        )
    if error.errno in (errno.EISDIR, errno.ENOTEMPTY):
        return is_a_folder(path)
    if error.errno == errno.EEXIST:
        return is_there(path)
    if error.errno in _FULL:
        return NoSpace(f"no room to restore `{text}` ({error.strerror}): free some there, or restore to another disk")
    refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    advice = ": restore as a user who may write there, or to another folder" if refused else ""
    return Refused(f"`{text}` can't be restored ({error.strerror}){advice}")

"""Open folders, reached step by step without following a link, so that nothing planted below a root leads out of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_root(path: Path) -> int:
    """The descriptor of a folder that may itself be reached by links."""
    return os.open(path, _FOLDER)


def open_step(folder: int, name: str) -> int:
    """The descriptor of a folder in `folder`. A link raises an `OSError` of its own, ELOOP; a file ENOTDIR."""
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        # Linux says ENOTDIR of a link too, and a file in the way means "not there" where a link means "refused".
        if error.errno == errno.ENOTDIR and stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from error
        raise


@contextmanager
def open_below(root: int, names: Sequence[str]) -> Iterator[int]:
    """The folder that `names` lead to. Raises `FileNotFoundError`, and what `open_step` does."""
    with ExitStack() as opened:
        for name in names:
            root = opened.enter_context(closing(open_step(root, name)))
        yield root


@contextmanager
def make_below(root: int, names: Sequence[str], durable: set[str]) -> Iterator[int]:
    """The same, with missing folders made, mode 0700, and every one durable. `durable` remembers those that are."""
    with ExitStack() as opened:
        path = ""
        for name in names:
            path = f"{path}/{name}"
            made = False
            try:
                below = open_step(root, name)
            except FileNotFoundError:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=root)
                    made = True
                below = open_step(root, name)
            opened.enter_context(closing(below))
            if made:
                os.fchmod(below, 0o700)
            # Also one that another process made, which may not have come to this yet.
            if made or path not in durable:
                sync_folder(root)
                durable.add(path)
            root = below
        yield root


def sync_folder(folder: int) -> None:
    """Make what was linked into or removed from a folder durable."""
    try:
        os.fsync(folder)
    except OSError as error:
        # Some network and FUSE file systems have no such thing as syncing a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise

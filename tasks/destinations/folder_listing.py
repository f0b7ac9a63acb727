"""The files of a folder that stand for objects, in their order, while others put and delete some."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tasks.destinations.destination import Listed, is_name
from tasks.destinations.folder import closing, open_below, open_step
from tasks.errors import Refused

_MORE_LOOKS = 4


def walk(folder: int, root: Path, path: str, start: str = "") -> Iterator[Listed]:
    """What lies in an open folder, which is `path` below `root`, in the order of whole names, where `a-b` and `a.b`
    come before `a/b`: a folder sorts as its name and `/`. Each as it was at one moment: where a file went while it was
    looked at, what took its place may have come unseen, so another look is taken."""
    names, sizes = _look(folder, root, path, start)
    for _ in range(_MORE_LOOKS):
        if None in sizes.values():
            names, sizes = _look(folder, root, path, start)
    for name in names:
        if name.endswith("/"):
            with closing(open_step(folder, name[:-1])) as below:
                yield from walk(below, root, path + name)
        elif (size := sizes[name]) is not None:
            yield Listed(path + name, size)


def folders_with(folder: int, root: Path, name: str) -> list[str]:
    """The folders in an open one, which is `root`, that hold a file of that name, sorted. What else lies there, such as
    somebody's own links, is not looked into. Raises `Refused` where a link leads to such a file."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if is_name(f"{entry.name}/{name}"))
    return [each for each in names if _holds(folder, root, f"{each}/{name}")]


def _holds(folder: int, root: Path, name: str) -> bool:
    above, _, last = name.rpartition("/")
    try:
        os.stat(name, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    with open_below(folder, above.split("/")) as below:
        return _size(below, last, root / name) is not None


def _look(folder: int, root: Path, path: str, start: str) -> tuple[list[str], dict[str, int | None]]:
    """Names, those of folders with `/`, and the sizes of files."""
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name
            for entry in entries
            if entry.name.startswith(start) and is_name(path + entry.name)
        )
    return names, {name: _size(folder, name, root / path / name) for name in names if not name.endswith("/")}


def _size(folder: int, name: str, path: Path) -> int | None:
    """None where it was deleted since: the folder is held open, so it can't be a disk that went away."""
    try:
        found = os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"`{path}` is a link or no plain file, and hides what it stands for")
    return found.st_size

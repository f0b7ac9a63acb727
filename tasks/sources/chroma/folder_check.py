"""What would go wrong with a persist folder tonight, found without changing anything."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from tasks.sources.chroma.stored_folder import DATABASE
from tasks.sources.source import Problem

_SPARE = 64 << 20
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p"}


def folder_problems(folder: Path, scratch: Path) -> Iterator[Problem]:
    """`scratch` is where the copy is going to lie."""
    database = folder / DATABASE
    if not os.path.isdir(folder):
        yield Problem(f"the folder `{folder}` is not there", "mend `path` in backup.toml, or start what makes it")
        return
    if not os.path.isfile(database):
        yield Problem(f"there is no `{DATABASE}` in `{folder}`", "let `path` name the folder that Chroma persists to")
        return
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=10)) as connection:
            connection.execute("SELECT 1 FROM segments, databases LIMIT 1").fetchone()
    except sqlite3.Error as error:
        yield Problem(
            f"`{database}` can't be read: {error}", "see to its rights; is it a database of Chroma 0.4.15 to 1.5?"
        )
        return
    if not os.access(database, os.R_OK | os.W_OK) or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Problem(
            f"`{folder}` can't be written, so it can't be locked for the moment of the copy",
            "give the workers' user the right to write there",
        )
    kind = _file_system(folder)
    if kind in _REMOTE:
        yield Problem(
            f"`{folder}` lies on a network share ({kind}), where SQLite's lock may not hold",
            "run the worker on the host that has the disk, or use the server's `url`",
            fatal=False,
        )
    yield from room_problems(scratch, size_of(folder))


def room_problems(scratch: Path, needed: int) -> Iterator[Problem]:
    """Whether there is room for so many bytes where scratch folders go."""
    at = scratch.absolute()
    while not at.exists():
        at = at.parent
    if not os.access(at, os.W_OK | os.X_OK):
        yield Problem(f"the scratch folder `{scratch}` can't be written", "point `scratch` to another folder")
        return
    free = shutil.disk_usage(at).free
    if free < needed + _SPARE:
        yield Problem(
            f"the scratch folder `{scratch}` has {free >> 20} MiB free and needs about {(needed + _SPARE) >> 20} MiB",
            "free some space, or point `scratch` to a larger disk",
        )


def size_of(folder: Path) -> int:
    """The bytes of all files below it."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # SQLite's journal comes and goes
            size += path.lstat().st_size
    return size


def _file_system(folder: Path) -> str:
    """The type of the file system that holds a folder; "" where that can't be told."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    real = os.path.realpath(folder)
    holding = [(len(at), kind) for _, at, kind, *_ in mounts if real == at or real.startswith(at.rstrip("/") + "/")]
    return max(holding, default=(0, ""))[1]

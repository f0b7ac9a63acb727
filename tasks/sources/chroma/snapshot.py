"""A copy of a persist folder that a live process writes, as it was at one moment.

A copy is whole exactly when the vector index is not older than what SQLite says it has taken in, and not newer than the
queue. Chroma writes an index in place: four files, then the pickle, then a commit. So: hold SQLite's write lock, which
lets a persist under way finish its files and then wait; take index files whose pickle is the youngest; then copy SQLite
itself. Chroma's writers wait meanwhile, and its readers don't.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from tasks.errors import NoSpace, SourceError, Unavailable
from tasks.sources.chroma.hnsw import PICKLE, Hnsw
from tasks.sources.chroma.pickled import check_written
from tasks.sources.chroma.records import NotWhole
from tasks.sources.chroma.stored_folder import DATABASE, PERSISTED

_QUIET_NS = 20_000_000
"""A file written less than this long ago may be written again without a trace in its times."""
_PAUSE = 0.005
_LOCK_SECONDS = 60.0
_SETTLE_SECONDS = 3.0
"""How long all indexes are waited for under the lock: a persist under way takes a second or two at most."""
_IDLE_NS = 10_000_000_000
"""No persist pauses for so long."""
_BUFFER = 1 << 22

Status = os.stat_result
_Identity = tuple[int, int, int, int]


@dataclass(slots=True)
class Copy:
    """`folder` holds the copy. `files` and `folders` are what it holds by path below it, with the status of what each
    was copied from. `doubtful` says of segments why they may not be whole."""

    folder: Path
    files: dict[str, Status] = field(default_factory=dict)
    folders: dict[str, Status] = field(default_factory=dict)
    doubtful: dict[str, str] = field(default_factory=dict)
    untold: set[str] = field(default_factory=set)
    """The files whose times would not tell of a further write."""


class _Segment(NamedTuple):
    """A segment's files as they were at a moment. `quiet`: a further write would have shown in their times. `parses`:
    the copy's pickle, if there is a copy, can be read."""

    files: dict[str, Status]
    quiet: bool
    parses: bool = False

    @property
    def identity(self) -> dict[str, _Identity]:
        return {name: _identity(status) for name, status in self.files.items()}

    @property
    def is_idle(self) -> bool:
        return time.time_ns() - max(status.st_ctime_ns for status in self.files.values()) > _IDLE_NS

    @property
    def in_order(self) -> bool:
        """Whether the pickle, which is written last, is the youngest."""
        return all(status.st_mtime_ns <= self.files[PICKLE].st_mtime_ns for status in self.files.values())


def take(folder: Path, into: Path) -> Copy:
    """Copy `folder` into the empty folder `into`. Raises `SourceError`, `Unavailable`, `NoSpace`."""
    try:
        return _take(folder, into)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(into) from error
        raise SourceError(f"`{error.filename}` can't be read: {error.strerror}") from error


def look(folder: Path) -> tuple[dict[str, Status], dict[str, Status]]:
    """The `files` and the `folders` of the `Copy` that would be taken, as they are at one moment, without a copy.
    Raises `SourceError`, `Unavailable`."""
    files, folders = dict[str, Status](), dict[str, Status]()
    try:
        with closing(_connect(folder)) as holder, _write_lock(holder, folder):
            for name in _segments(holder, folder):
                segment = _look(folder / name)
                if segment:
                    files |= {f"{name}/{file}": status for file, status in segment.files.items()}
                    folders[name] = os.stat(folder / name)
            files[DATABASE] = os.stat(folder / DATABASE)
    except OSError as error:
        raise SourceError(f"`{error.filename}` can't be read: {error.strerror}") from error
    return files, folders


def _take(folder: Path, into: Path) -> Copy:
    copy = Copy(into)
    with closing(_connect(folder)) as holder:
        ahead = {name: _copied(folder / name, into / name) for name in _segments(holder, folder)}
        _warm(folder / DATABASE)
        with _write_lock(holder, folder):
            deadline = time.monotonic() + _SETTLE_SECONDS
            for name in _segments(holder, folder):
                segment = _settled(folder / name, into / name, ahead.pop(name, None), copy, deadline=deadline)
                if segment:
                    copy.files |= {f"{name}/{file}": status for file, status in segment.files.items()}
                    copy.folders[name] = os.stat(folder / name)
            status = copy.files[DATABASE] = os.stat(folder / DATABASE)
            if not _is_settled(status) or holder.execute("PRAGMA journal_mode").fetchone() == ("wal",):
                copy.untold.add(DATABASE)
            _copy_database(folder, into)
            if _identity(os.stat(folder / DATABASE)) != _identity(status):
                raise Unavailable(f"`{folder / DATABASE}` changed in spite of the lock: is it on a network share?")
            # An index may have changed meanwhile: a persist that began under the lock. That is no matter, as its copy
            # is what it was at a moment under the lock, and replaying the queue brings it up to date.
    for name in ahead:  # of collections that were deleted meanwhile
        shutil.rmtree(into / name, ignore_errors=True)
    return copy


def _copy_database(folder: Path, into: Path) -> None:
    try:
        with closing(_connect(folder)) as reader, closing(sqlite3.connect(into / DATABASE)) as written:
            reader.backup(written)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname == "SQLITE_FULL":
            raise _full(into) from error
        raise


def _full(into: Path) -> NoSpace:
    return NoSpace(f"no room for the copy in `{into}`: free some space, or point `scratch` to a larger disk")


def _is_settled(status: Status) -> bool:
    """Whether a further write would show in the file's times; so it would in those of a clock that was ahead."""
    return abs(time.time_ns() - status.st_ctime_ns) > _QUIET_NS


def _identity(status: Status) -> _Identity:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _connect(folder: Path) -> sqlite3.Connection:
    # Not read-only: after a kill, SQLite must first roll back what was under way.
    uri = f"file:{quote(str(folder / DATABASE))}?mode=rw"
    try:
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_LOCK_SECONDS)
    except sqlite3.Error as error:
        raise SourceError(
            f"`{folder / DATABASE}` can't be opened: {error}; it must be readable and writable"
        ) from error


def _segments(connection: sqlite3.Connection, folder: Path) -> list[str]:
    try:
        rows = connection.execute("SELECT id FROM segments WHERE type = ? ORDER BY id", (PERSISTED,)).fetchall()
    except sqlite3.OperationalError as error:
        if "lock" in str(error) or "busy" in str(error):
            raise Unavailable(f"`{folder / DATABASE}` stayed locked for {_LOCK_SECONDS:.0f} s: {error}") from error
        raise SourceError(
            f"`{folder / DATABASE}` is not of a Chroma that is supported (0.4.15 to 1.5): {error}"
        ) from error
    except sqlite3.DatabaseError as error:
        raise SourceError(f"`{folder / DATABASE}` is no database of Chroma: {error}") from error
    return [name for (name,) in rows if isinstance(name, str) and "/" not in name and name not in ("", ".", "..")]


@contextmanager
def _write_lock(holder: sqlite3.Connection, folder: Path) -> Iterator[None]:
    try:
        holder.execute("BEGIN IMMEDIATE")
        # A database that may only be read gets a lock for reading, without a word: this writes nothing, and tells.
        holder.execute("DELETE FROM segments WHERE 0")
    except sqlite3.OperationalError as error:
        if "readonly" in str(error) or "read-only" in str(error):
            raise SourceError(
                f"`{folder / DATABASE}` can't be locked: give the workers' user the right to write it"
            ) from error
        raise Unavailable(f"`{folder / DATABASE}` stayed locked for {_LOCK_SECONDS:.0f} s: {error}") from error
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise SourceError(f"`{folder / DATABASE}` can't be read: {error}; see `PRAGMA integrity_check`") from error
    finally:
        holder.execute("ROLLBACK")


def _settled(live: Path, into: Path, held: _Segment | None, copy: Copy, *, deadline: float) -> _Segment | None:
    """A segment as it is under the lock; None if it was never persisted, so that the queue holds all of it. `held` was
    copied ahead."""
    while True:
        found = _look(live)
        if found is None:
            shutil.rmtree(into, ignore_errors=True)
            return None
        late = time.monotonic() > deadline
        if found.quiet:
            if held is None or not held.quiet or held.identity != found.identity:
                held = _copied(live, into)
                found = _look(live)
            if held and held.quiet and found and held.identity == found.identity:
                if held.in_order and held.parses:
                    return held
                if late or held.is_idle:
                    _judge(live.name, into, held, copy)
                    return held
        elif late:
            raise Unavailable(f"`{live}` was being written for {_SETTLE_SECONDS:.0f} s, in spite of SQLite's lock")
        time.sleep(_PAUSE)


def _judge(name: str, into: Path, held: _Segment, copy: Copy) -> None:
    """Nothing is being written, and yet the pickle is not the youngest: the times were set by something else, such as a
    copy of the folder; or a process was killed while it wrote. What the files say of each other tells which."""
    try:
        Hnsw(into).check()
    except NotWhole as error:
        copy.untold |= {f"{name}/{file}" for file in held.files}
        copy.doubtful[name] = f"{error}: was a process killed while it wrote it?"


def _parses(folder: Path) -> bool:
    try:
        check_written(folder / PICKLE)
    except NotWhole:
        return False
    return True


def _look(live: Path) -> _Segment | None:
    try:
        with os.scandir(live) as entries:
            files = {each.name: each.stat(follow_symlinks=False) for each in entries}
    except FileNotFoundError:
        return None
    files = {name: status for name, status in files.items() if stat.S_ISREG(status.st_mode)}
    return _Segment(files, all(map(_is_settled, files.values()))) if PICKLE in files else None


def _copied(live: Path, into: Path) -> _Segment | None:
    """A copy of all files, with the status that each had before it was read; None without a pickle."""
    shutil.rmtree(into, ignore_errors=True)
    segment = _look(live)
    if segment is None:
        return None
    into.mkdir()
    for name in segment.files:
        try:
            shutil.copyfile(live / name, into / name, follow_symlinks=False)
        except FileNotFoundError:
            return None
    return segment._replace(parses=_parses(into))


def _warm(path: Path) -> None:
    """Read the file once, so that the copy under the lock comes from memory. Before the lock is taken: closing the file
    would release it."""
    with open(path, "rb", buffering=0) as file:
        buffer = bytearray(_BUFFER)
        while file.readinto(buffer):
            pass

"""Folders for what is not to stay. What a killed process left in one is removed by the next one on the same disk."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count, islice
from pathlib import Path
from secrets import token_hex

from tasks.errors import NoSpace, Refused
from tasks.file_lock import is_mine

_PREFIX = "geometra-scratch-"
_ALIVE, _UNLOCKED = ".alive", ".unlocked"
_FORGOTTEN_SECONDS = 3600
_ACL = struct.pack("<I" + 5 * "HHI", 2, *(1, 6, 0), *(2, 4, 1), *(4, 4, 0), *(16, 4, 0), *(32, 4, 0))
"""As Linux stores it: one user of a number may read, beside the owner, the group and all others."""
_SPARSE, _DATA = 16 << 20, [(5 << 20, 1 << 20), (9 << 20, 4096)]
"""How large a file with holes is, and where its data lies."""
_AT_ONCE = 8
"""Folders that are emptied at the same time."""
_MOST_NAMES = 1000
"""That are held of one."""
_MOST_LOOKS = 100
"""At one: a process that goes on writing there is not waited for."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


def usual() -> Path:
    """Where scratch folders go unless settings say otherwise: on a disk, as /tmp is memory on many machines."""
    return Path(os.environ.get("TMPDIR") or "/var/tmp")  # noqa: S108 - each gets a folder of its own, for its user only


@contextmanager
def scratch_folder(below: Path) -> Iterator[Path]:
    """An empty folder, removed at the end. Raises `NoSpace`, `Refused`; what the disk refuses in between as well."""
    try:
        below.mkdir(parents=True, exist_ok=True)
        collect(below)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=below))
        folder.chmod(0o711)  # a server that runs as another user may be given what lies in it
        try:
            with (folder / _UNLOCKED).open("x") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                (folder / _UNLOCKED).rename(folder / _ALIVE)
                inner = folder / "work"
                inner.mkdir(mode=0o700)
                yield inner
        finally:
            _remove(folder)
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpace(
                f"the scratch folder `{below}` is full: free some space, or point `scratch` elsewhere"
            ) from error
        if error.filename is None or not str(error.filename).startswith(str(below)):
            raise
        raise Refused(
            f"the scratch folder `{below}` can't be used: {error.strerror}; point `scratch` elsewhere"
        ) from error


def check_holds_all(folder: Path) -> None:
    """Raises `Refused` where the file system of a scratch folder does not hold what a file may have beside its content:
    what comes back there is never what was captured."""
    probe, when = folder / ".geometra-probe", 1_234_567_891
    try:
        probe.touch()
        os.utime(probe, ns=(when, when))
        lacks = "" if probe.stat().st_mtime_ns == when else "times to the nanosecond"
        if sys.platform == "linux":
            lacks = lacks or ("" if _holds_holes(probe) else "holes as they were written")
            os.setxattr(probe, "user.geometra", b"x")
            os.setxattr(probe, "system.posix_acl_access", _ACL)
    except OSError as error:
        if error.errno in _FULL:
            raise
        lacks = "extended attributes or access control lists"
    finally:
        probe.unlink(missing_ok=True)
    if lacks:
        raise Refused(
            f"the file system of the scratch folder `{folder.parent.parent}` does not hold {lacks}, so what was"
            " captured can't be compared with what comes back there; point `scratch` elsewhere"
        )


def _holds_holes(probe: Path) -> bool:
    """False where data is noted in larger units, as on ZFS or in huge pages, or where zeros become a hole."""
    with probe.open("r+b") as file:
        number = file.fileno()
        os.ftruncate(number, _SPARSE)
        for start, length in _DATA:
            os.pwrite(number, bytes(length), start)
        os.fsync(number)
        found, at = list[tuple[int, int]](), 0
        with suppress(OSError):  # there is no data from here on
            while at < _SPARSE:
                start = os.lseek(number, at, os.SEEK_DATA)
                at = os.lseek(number, start, os.SEEK_HOLE)
                found.append((start, at - start))
    return found == _DATA


def collect(below: Path) -> None:
    """Remove the folders of processes that were killed: a kill releases their lock. Only this user's own: in a place
    like /var/tmp anybody may put a link, or a folder, of such a name."""
    for folder in below.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue
            alive = folder / _ALIVE
            if not alive.exists():
                # Perhaps it is only just being made.
                if time.time() - status.st_mtime > _FORGOTTEN_SECONDS:
                    _remove(folder)
                continue
            with alive.open("r+") as lock:
                if is_mine(lock):
                    _remove(folder)


def _remove(folder: Path) -> None:
    """What can be removed. Where each removal waits for a disk, as one that is told of all that is free, or for a
    server, several wait at once."""
    emptying = _Emptying(os.fspath(folder))
    waiting, running = emptying.empty(emptying.here), deque[Future[list[str]]]()
    with ThreadPoolExecutor(_AT_ONCE, "removing") as pool:
        while waiting or running:
            if len(waiting) == 1 and not running:
                waiting = emptying.empty(waiting[0])
                continue
            while waiting and len(running) < 2 * _AT_ONCE:
                running.append(pool.submit(emptying.empty, waiting.pop()))
            waiting += running.popleft().result()
    with suppress(OSError):
        folder.rmdir()


class _Emptying:
    """Each folder is emptied right below `here`, so that none is too deep; and a server that wrote in it can put no
    link in its place."""

    def __init__(self, here: str) -> None:
        self.here = here
        self._unlike, self._numbers = token_hex(8), count()

    def empty(self, top: str) -> list[str]:
        """Remove it, but for the folders in it; where these are now, right below `here`."""
        moved = list[str]()
        with suppress(OSError):
            for _ in range(_MOST_LOOKS):  # some file systems list not all of a folder that changes meanwhile
                changed = self._clear(top, moved)
                if top != self.here:
                    with suppress(OSError):
                        os.rmdir(top)
                        break
                if not changed:
                    break
        return moved

    def _clear(self, top: str, moved: list[str]) -> bool:
        """Whether anything went from `top`."""
        changed = False
        with os.scandir(top) as found:
            while some := list(islice(found, _MOST_NAMES)):
                for entry in some:
                    with suppress(OSError):
                        if not entry.is_dir(follow_symlinks=False):
                            os.unlink(entry.path)
                        elif entry.name.startswith(self._unlike):
                            continue
                        elif folder := self._moved(entry.path):
                            moved.append(folder)
                        changed = True
        return changed

    def _moved(self, path: str) -> str | None:
        moved = os.path.join(self.here, f"{self._unlike}-{next(self._numbers)}")
        _move(path, moved)
        if os.path.islink(moved):  # which took its place
            os.unlink(moved)
            return None
        os.chmod(moved, 0o700)
        return moved


def _move(path: str, to: str) -> None:
    try:
        os.rename(path, to)
    except PermissionError:  # of who is not root, one that came back as a folder to be read only
        os.chmod(path, 0o700)
        os.rename(path, to)

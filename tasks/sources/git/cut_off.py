"""What a restore that was cut off has left, and by what a run knows the repositories that it has put back already: a
file among git's own, until all are there.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from tasks.sources.path_text import path_text

NAME = b"geometra-restore"
"""Of that file: no capture takes it."""
_PREFIX = b".geometra-restore-"
_MOST = 1 << 20
_TIMES, _PAUSE = 50, 0.02


def work_name(run: str) -> bytes:
    """Of a folder for what is not whole yet; new each time."""
    return _prefix(run) + secrets.token_hex(4).encode()


def put(git_folder: bytes, run: str, missed: list[str]) -> None:
    """With what could not be given back. The folder keeps its times. Raises `OSError`."""
    around, place = os.stat(git_folder), os.path.join(git_folder, NAME)
    with suppress(FileNotFoundError):
        os.unlink(place)  # captured with the repository, by a build that did not leave it out
    with open(place, "x") as file:
        json.dump([run, missed], file)
    os.utime(git_folder, ns=(around.st_atime_ns, around.st_mtime_ns))


def found(repository: bytes, run: str) -> list[str] | None:
    """What could not be given back when that run put this repository there; None if it did not."""
    with suppress(OSError, ValueError, TypeError):
        number = os.open(_place(repository), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(number) as file:
            of, missed = json.loads(file.read(_MOST))
        if run and of == run:
            return [str(line) for line in missed]
    return None


def clear(path: bytes) -> None:
    """Remove a folder for what is not whole, if it is there. What a killed git had started may make one more file in
    it before it is gone itself."""
    for _ in range(_TIMES):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path):
            return
        time.sleep(_PAUSE)


def forget_run(folder: Path, run: str) -> None:
    """Remove what repositories there have of a run that is done with them, and what it has left unfinished."""
    with suppress(OSError):
        for name in os.listdir(os.fsencode(folder)):
            path = os.path.join(os.fsencode(folder), name)
            if _is_work_of(name, run):
                clear(path)
            elif not os.path.islink(path):
                _remove(path, run)


def left_over(folder: Path, run: str) -> list[str]:
    """A line for each unfinished repository there that is not this run's."""
    with suppress(OSError):  # whatever is wrong with the folder is told when it is written to
        every = (each.name for each in os.scandir(folder) if each.is_dir(follow_symlinks=False))
        found = sorted(name for name in every if not _is_work_of(os.fsencode(name), run))
        return [
            f"`{path_text(os.fsencode(folder / name))}` is left from a restore that was cut off, unless one is running:"
            " remove it"
            for name in found
            if re.fullmatch(r"\.geometra-restore-[0-9a-f]{16}", name)
        ]
    return []


def _is_work_of(name: bytes, run: str) -> bool:
    """Whether that run has made it, now or before."""
    return bool(run) and name.startswith(_prefix(run))


def _remove(repository: bytes, run: str) -> None:
    """That of this run. The folder keeps its times."""
    if found(repository, run) is None:
        return
    with suppress(OSError):
        place = _place(repository)
        around = os.stat(os.path.dirname(place))
        os.unlink(place)
        os.utime(os.path.dirname(place), ns=(around.st_atime_ns, around.st_mtime_ns))


def _prefix(run: str) -> bytes:
    token = blake2b(run.encode(), digest_size=4).hexdigest() if run else secrets.token_hex(4)
    return _PREFIX + token.encode()


def _place(repository: bytes) -> bytes:
    inner = os.path.join(repository, b".git")
    is_inside = os.path.isdir(inner) and not os.path.islink(inner)
    return os.path.join(inner if is_inside else repository, NAME)

"""The operating system's errors about files, told in the words of `tasks/errors.py`."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import BackupError, NoSpace, Refused, Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_THE_WAY = {
    errno.ELOOP: "a symbolic link is in its place or on the way, and is not followed",
    errno.ENOTDIR: "a file is where one of its folders belongs",
    errno.EISDIR: "a folder is in its place",
}
_NOT_POSSIBLE = {errno.ENAMETOOLONG, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def explained(verb: str, path: Path) -> Iterator[None]:
    """Turns an `OSError` into `NoSpace`, `Refused` or `Unavailable` that says what could not be done to `path`.

    What is not known to be permanent is *unavailable*, so that it is tried again: a stale mount, a failing disk, no
    more file descriptors, and also a file or folder that went away in the middle.
    """
    try:
        yield
    except OSError as error:
        raise _translation(error, verb, path) from error


def _translation(error: OSError, verb: str, path: Path) -> BackupError:
    reason = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return NoSpace(f"no room to {verb} `{path}` ({reason}): free space there, or raise the quota or limit")
    if error.errno in _NOT_ALLOWED:
        return Refused(f"not allowed to {verb} `{path}` ({reason}): check owner, modes, and how its disk is mounted")
    if error.errno in _IN_THE_WAY:
        return Refused(f"can't {verb} `{path}` ({_IN_THE_WAY[error.errno]}): remove what is not from here")
    if error.errno in _NOT_POSSIBLE:
        return Refused(f"can't {verb} `{path}` ({reason}): its file system can't do this, use another folder")
    return Unavailable(f"can't {verb} `{path}` now ({reason}): check the disk or mount that it lies on")

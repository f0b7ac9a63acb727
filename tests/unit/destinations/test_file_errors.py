"""Every way in which the operating system can fail a destination, in words that say what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tasks.destinations.file_errors import explained
from tasks.errors import BackupError, Missing, NoSpace, Refused, Unavailable

KINDS: dict[type[BackupError], str] = {
    NoSpace: "ENOSPC EDQUOT EFBIG",
    Refused: "EACCES EPERM EROFS ELOOP ENOTDIR ENAMETOOLONG EISDIR EXDEV EMLINK ENOTSUP",
    Unavailable: "EIO ESTALE ENODEV ENOTCONN ETIMEDOUT EHOSTDOWN ENOENT EMFILE ENFILE ENOMEM EAGAIN EBUSY EINVAL",
}


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in KINDS.items() for code in codes.split()])
def test_each_error_of_the_system_becomes_one_clear_line(kind: type[BackupError], code: str) -> None:
    number = getattr(errno, code)
    cause = OSError(number, os.strerror(number), "something/else")
    with pytest.raises(BackupError) as caught, explained("store", Path("/srv/backup/packs/0a")):
        raise cause
    assert type(caught.value) is kind
    assert caught.value.__cause__ is cause
    assert "store `/srv/backup/packs/0a`" in str(caught.value)
    assert str(caught.value).count(":") == 1, "what failed, and what to do"
    assert "\n" not in str(caught.value)


def test_an_error_without_a_number_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="`/a`"), explained("read", Path("/a")):
        raise OSError


def test_errors_that_are_explained_already_stay_as_they_are() -> None:
    inner = Missing("`x` is not there")
    with pytest.raises(Missing) as caught, explained("read", Path("/a")):
        raise inner
    assert caught.value is inner

"""What a restore says where the system refuses a path: what it means, and what to do next."""

from __future__ import annotations

import errno
import os

import pytest

from tasks.errors import BackupError, NoSpace, Refused
from tasks.sources.target_path import translated


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.ENOSPC, NoSpace, "free some there, or restore to another disk"),
        (errno.EDQUOT, NoSpace, "free some there, or restore to another disk"),
        (errno.EACCES, Refused, "restore as a user who may write there, or to another folder"),
        (errno.EROFS, Refused, "restore as a user who may write there, or to another folder"),
    ],
)
def test_what_to_do_next_is_told(number: int, kind: type[BackupError], advice: str) -> None:
    told = translated(OSError(number, os.strerror(number)), b"docs/a.md")
    assert isinstance(told, kind)
    assert "`docs/a.md`" in str(told)
    assert str(told).endswith(advice)

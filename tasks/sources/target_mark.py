"""A file that tells whether two hosts mean the same folder by the same path."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from tasks.sources.target_path import CREATE, make_top, translated


def mark(into: Path, name: str) -> None:
    """Make the folder if need be, and the mark in it. Raises `Refused`, `NoSpace`, `UnsafePath`."""
    try:
        make_top(into)
        os.close(os.open(_file(into, name), CREATE, 0o600))
    except OSError as error:
        raise translated(error, os.fsencode(into)) from error


def is_marked(into: Path, name: str) -> bool:
    with suppress(OSError):
        return stat.S_ISREG(_file(into, name).lstat().st_mode)
    return False


def unmark(into: Path, name: str) -> None:
    with suppress(OSError):  # no folder, or no right: then there is none that was made here
        _file(into, name).unlink()


def _file(into: Path, name: str) -> Path:
    return into / f".geometra-restore-{name}"

"""What SQLite left beside a database that a restore replaces: at its next start it would take that for the new one's
own, and write the pages of the old one over it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tasks.errors import TO_OVERWRITE, Occupied, Refused
from tasks.sources.chroma.served_folder import user_of
from tasks.sources.left_journals import JOURNALS

_ENDS = (*JOURNALS, "-shm")


def look(databases: Sequence[Path], *, overwrite: bool) -> None:
    """Before anything is written. Raises `Occupied` where a process uses one of them, or where something lies beside
    one that may not be removed."""
    for database in databases:
        if user := user_of(database):
            raise Occupied(f"process {user} has `{database}` open: stop it, or restore somewhere else")
        if not overwrite and (left := next((each for each in _beside(database) if os.path.lexists(each)), None)):
            raise Occupied(
                f"`{left}` is there already, and SQLite would read it into the restored database: restore somewhere"
                f" else, or {TO_OVERWRITE}"
            )


def remove(databases: Sequence[Path]) -> None:
    """Once the databases are replaced."""
    for database in databases:
        for left in _beside(database):
            try:
                with suppress(FileNotFoundError):
                    left.unlink()
            except OSError as error:
                raise Refused(
                    f"`{left}` can't be removed: {os.strerror(error.errno or errno.EIO)}; remove it before anything"
                    " opens the restored database, which SQLite would damage by it"
                ) from error


def _beside(database: Path) -> list[Path]:
    return [database.with_name(database.name + end) for end in _ENDS]

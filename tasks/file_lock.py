"""Locks on files, which tell the living from the dead: a kill releases them."""

from __future__ import annotations

import fcntl
from typing import IO


def is_mine(file: IO[str] | int) -> bool:
    """Whether nobody else holds its lock, which is held now until the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

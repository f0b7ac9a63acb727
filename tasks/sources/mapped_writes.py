"""Files that somebody writes to through a memory map: the kernel notes the time at the first write to a page, and not
again before it has begun to write that page back, which takes it half a minute. Until then, what was stored of such a
file may be what it was, and nothing would tell.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

# What sync_file_range(2) is to do.
_WAIT_BEFORE, _WRITE = 1, 2
_WRITTEN_BACK = 60_000_000_000
"""Nanoseconds after which the kernel has begun to write back whatever had changed."""


class LaterWrites:
    """Shows what is written to open files after they were read. Of so many files, or of so much, as were copied there
    within the last minute, only some: to have all of that written to the disk at once would cost more than the rest of
    a first night, and nobody writes to these through a map."""

    def __init__(self, files: int = 1000, size: int = 256 << 20) -> None:
        self._files, self._size = files, size

    def show(self, number: int, changed: int, size: int, now: int) -> None:
        """Whatever is written to a file from here on changes its times, whose last change was at `changed`, in ns. It
        waits for no disk that is not busy with this file already. Nothing is done where the kernel offers no way, and
        none helps in a tmpfs, which notes no time of such writes at all."""
        if now - changed < _WRITTEN_BACK and _begin_to_write and self._files > 0 and self._size > 0:
            self._files, self._size = self._files - 1, self._size - size
            _begin_to_write(number, 0, 0, _WAIT_BEFORE | _WRITE)


def _found() -> Callable[..., Any] | None:
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is not None:
        function.argtypes = ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint
    return function


_begin_to_write = _found()

"""Memory that a process has freed is kept for its next block, instead of being given back to the kernel each time; and
given back between two steps, or where it has become much.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

# mallopt(3): its parameters, which no header of Python's has.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT = 128 << 20
"""Bytes that may be free before some are given back."""
_MAPPED = 32 << 20
"""Bytes from which on an allocation is a map of its own; the most that glibc takes."""
IDLE = 96 << 20
"""Bytes that a worker may have in memory between two steps: some more than what it has imported."""
BUSY = 160 << 20
"""Bytes from which on what is free between others in a long step is given back now and then."""


def keep_freed_memory() -> None:
    """Call it before there are threads. Blocks of some megabytes come and go by the thousand; by default the memory of
    each is new, and every page of it a fault: a tenth to a quarter of a worker's CPU, and more in a virtual machine.
    One arena for all threads keeps what is kept small: they hardly ever allocate at the same time.

    Whoever sets one of glibc's own variables (`MALLOC_...`) decides himself. Other C libraries are left alone.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for parameter, value in ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _MAPPED), (_TRIM_THRESHOLD, _KEPT)):
        mallopt(parameter, value)


def give_back(above: int = IDLE) -> None:
    """After a step that took much: or the next one, which holds other things, takes what it needs beside what this one
    has left. Some milliseconds; where no more than `above` is in memory, nothing."""
    if _resident() <= above:
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def _resident() -> int:
    """Bytes of this process in memory; 0 where that is not told."""
    with suppress(OSError), open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    return 0

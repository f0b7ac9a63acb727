"""What a piece of work took: wall clock, the CPU of this process and of the programs that it ran, and memory."""

from __future__ import annotations

import os
import resource
import sys
import time
from contextlib import suppress

_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Stopwatch:
    """Runs from when it is made. Other threads of the process count too: one that works on one thing alone, as a pool's
    process does, has it for itself."""

    def __init__(self) -> None:
        self._began, self._cpu_began = time.monotonic(), _cpu_seconds()

    def figures(self) -> dict[str, float]:
        """`seconds` and `cpu_seconds` so far, and `peak_memory_bytes`: the most that the process ever had in memory."""
        return {
            "seconds": time.monotonic() - self._began,
            "cpu_seconds": _cpu_seconds() - self._cpu_began,
            "peak_memory_bytes": _peak_memory(),
        }


def _cpu_seconds() -> float:
    return time.process_time() + sum(os.times()[2:4])


def _peak_memory() -> float:
    # Not `ru_maxrss` on Linux: that also knows the process that started this one, from before its own program began.
    with suppress(OSError, ValueError, StopIteration), open("/proc/self/status") as status:
        return 1024.0 * int(next(line for line in status if line.startswith("VmHWM:")).split()[1])
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT)

"""What a piece of work took: wall clock, and the CPU of this process and of the programs that it ran and waited for."""

from __future__ import annotations

import os
import time


class Stopwatch:
    """Runs from when it is made. Other threads of the process count too: one that works on one thing alone, as a pool's
    process does, has it for itself."""

    def __init__(self) -> None:
        self._began, self._cpu_began = time.monotonic(), _cpu_seconds()

    def figures(self) -> dict[str, float]:
        """`seconds` and `cpu_seconds` so far."""
        return {"seconds": time.monotonic() - self._began, "cpu_seconds": _cpu_seconds() - self._cpu_began}


def _cpu_seconds() -> float:
    return time.process_time() + sum(os.times()[2:4])

"""The facts that a benchmark's figures mean nothing without."""

from __future__ import annotations

import mmap
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

_LEFT_FREE = 1 << 30


def facts() -> dict[str, object]:
    """What can be said before the run; the caller adds the run's own options."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def fetch_memory(size: int) -> None:
    """Take so many bytes of memory, as far as there are, touch each page, and give them back.

    A virtual machine hands what lies free back to its host, and fetches it page by page when it is used again: 8 to
    11 us for each here, so that 2 GB restored to tmpfs took 8.4 s of system time, and 0.9 s where the memory had just
    been in use. That comes upon whichever program is next, and grows with what it writes and not with what it does.
    """
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, max(mmap.PAGESIZE, min(size, free - _LEFT_FREE)), flags).close()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

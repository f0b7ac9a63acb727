"""Where the data of a sparse file lies. The same map comes back from a restored copy, so copies can be compared."""

from __future__ import annotations

import errno
import os

Extents = tuple[tuple[int, int], ...]

SMALLEST = 65536
"""A file below this many bytes is read whole: its holes are worth less than looking for them."""

_GRAIN = 4096
_MOST = 4096


def data_extents(descriptor: int, size: int) -> Extents | None:
    """(offset, length) of the data of an open file, rounded out to whole 4 KiB; None if there are no holes.

    At most 4,096 of them: of a file with more, the smallest holes count as data. Moves the file's position.
    """
    found: list[tuple[int, int]] = []
    grain = _GRAIN
    end = 0
    try:
        while end < size:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            _append(found, start, end, grain)
            if len(found) > _MOST:
                grain *= 4
                coarse: list[tuple[int, int]] = []
                for run in found:
                    _append(coarse, *run, grain)
                found = coarse
    except OSError as error:
        if error.errno != errno.ENXIO:  # the kernel's "no data from here on"
            return None
    extents = tuple((start, min(end, size) - start) for start, end in found if start < size)
    return None if extents == ((0, size),) else extents


def _append(runs: list[tuple[int, int]], start: int, end: int, grain: int) -> None:
    start -= start % grain
    end += -end % grain
    if runs and start <= runs[-1][1]:
        runs[-1] = (runs[-1][0], max(end, runs[-1][1]))
    else:
        runs.append((start, end))

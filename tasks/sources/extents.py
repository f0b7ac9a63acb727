"""Where the data of a sparse file lies. The same map comes back from a restored copy, so copies can be compared."""

from __future__ import annotations

import errno
import os
from itertools import pairwise

Extents = tuple[tuple[int, int], ...]

SMALLEST = 65536
"""A file below this many bytes is read whole: its holes are worth less than looking for them."""

_GRAIN = 4096
_MOST = 16_384


def data_extents(descriptor: int, size: int) -> Extents | None:
    """(offset, length) of the data of an open file, rounded out to whole 4 KiB; None if there are no holes.

    At most 16,384 of them: of a file with more, the smallest holes count as data. Moves the file's position.
    """
    found: list[tuple[int, int]] = []
    end = 0
    try:
        while end < size:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            _append(found, start, end)
            if len(found) > 2 * _MOST:
                found = _fewer(found)
    except OSError as error:
        if error.errno != errno.ENXIO:  # the kernel's "no data from here on"
            return None
    extents = tuple((start, min(end, size) - start) for start, end in _fewer(found) if start < size)
    return None if extents == ((0, size),) else extents


def _fewer(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """As many as there may be: over the smallest holes between the others."""
    holes = sorted((after[0] - before[1], at) for at, (before, after) in enumerate(pairwise(runs), 1))
    filled = {at for _, at in holes[: max(0, len(runs) - _MOST)]}
    fewer = runs[:1]
    for at, run in enumerate(runs[1:], 1):
        if at in filled:
            fewer[-1] = (fewer[-1][0], run[1])
        else:
            fewer.append(run)
    return fewer


def _append(runs: list[tuple[int, int]], start: int, end: int) -> None:
    start -= start % _GRAIN
    end += -end % _GRAIN
    if runs and start <= runs[-1][1]:
        runs[-1] = (runs[-1][0], max(end, runs[-1][1]))
    else:
        runs.append((start, end))

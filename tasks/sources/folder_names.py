"""The names in a folder, as bytes and sorted; those of a folder of a million files in a quarter of the memory that a
list of them takes.
"""

from __future__ import annotations

import heapq
import os
import sys
from collections.abc import Iterable, Iterator

from tasks.sources.open_folders import Descriptor

_LARGE = 1 << 20
"""Bytes that a folder has itself, from some ten thousand files on. Where a file system does not tell, it is small."""
_RUN = 1 << 16
"""Names that are sorted at a time."""
_TOGETHER = 1 << 10
"""Names that are kept joined."""
_ENCODING, _ENCODE_ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def sorted_names(folder: Descriptor) -> Iterable[bytes]:
    """To be gone through any number of times. Raises `OSError`."""
    if os.fstat(folder.number).st_size < _LARGE:
        # Encoded in one call: no name holds a NUL.
        joined = "\0".join(os.listdir(folder.number)).encode(_ENCODING, _ENCODE_ERRORS)
        return sorted(joined.split(b"\0")) if joined else []
    runs, names = list[_Run](), list[bytes]()
    with os.scandir(folder.number) as entries:
        for entry in entries:
            names.append(entry.name.encode(_ENCODING, _ENCODE_ERRORS))
            if len(names) == _RUN:
                names.sort()
                runs.append(_Run(names))
                names = []
    names.sort()
    return _Merged([*runs, _Run(names)])


class _Run:
    """Sorted names, joined by what no name holds."""

    def __init__(self, names: list[bytes]) -> None:
        self._parts = [b"/".join(names[at : at + _TOGETHER]) for at in range(0, len(names), _TOGETHER)]

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            yield from part.split(b"/")


class _Merged:
    def __init__(self, runs: list[_Run]) -> None:
        self._runs = runs

    def __iter__(self) -> Iterator[bytes]:
        return heapq.merge(*self._runs)

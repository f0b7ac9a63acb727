"""Which names came before, in sixteen bytes a name: SCAN may tell of one twice while the server resizes its table."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from tasks.numbers import numpy as np

_FIRST, _LARGEST = 1 << 12, 1 << 19
"""Names in the smallest array, and in the largest that is merged with another: merging takes three times its memory."""


class Seen:
    """Names by a hash of 128 bits, in sorted arrays that are merged as they grow alike."""

    def __init__(self) -> None:
        self._levels: list[Any] = []
        self._recent: set[bytes] = set()

    def new(self, names: Sequence[bytes]) -> list[bytes]:
        """Those that were never given before, once each."""
        hashes = [blake2b(name, digest_size=16).digest() for name in names]
        pairs = np.frombuffer(b"".join(hashes), dtype=np.uint64).reshape(-1, 2)
        known = np.zeros(len(names), dtype=bool)
        for level in self._levels:
            known |= _holds(level, pairs)
        fresh: list[bytes] = []
        for name, hashed, old in zip(names, hashes, known.tolist(), strict=True):
            if not old and hashed not in self._recent:
                self._recent.add(hashed)
                fresh.append(name)
        if len(self._recent) >= _FIRST:
            self._settle()
        return fresh

    def _settle(self) -> None:
        level = _sorted(np.frombuffer(b"".join(self._recent), dtype=np.uint64).reshape(-1, 2))
        self._recent.clear()
        while self._levels and len(self._levels[-1]) <= len(level) <= _LARGEST:
            level = _sorted(np.concatenate((self._levels.pop(), level)))
        self._levels.append(level)


def _sorted(pairs: Any) -> Any:
    return pairs[np.argsort(pairs[:, 0], kind="stable")]


def _holds(level: Any, pairs: Any) -> Any:
    """Where `level`, sorted by its first column, has each pair."""
    wanted = np.ascontiguousarray(pairs[:, 0])
    column = level[:, 0]
    at = np.searchsorted(column, wanted)
    found = np.zeros(len(pairs), dtype=bool)
    # Equal first halves are next to each other, and hardly ever more than one.
    while True:
        inside = at < len(level)
        same = np.zeros(len(pairs), dtype=bool)
        same[inside] = column[at[inside]] == wanted[inside]
        if not same.any():
            return found
        found[same] |= level[at[same], 1] == pairs[same, 1]
        at = at + same

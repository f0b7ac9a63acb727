"""Files picked one by one, for the walk that all files share."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.sources.patterns import Patterns
from tasks.sources.selection import Selection


class Picked(Selection):
    """Takes the `files`, and all of the folders `whole` but what `exclude` matches; `left` are those not met yet."""

    def __init__(self, files: Iterable[bytes], whole: Iterable[bytes], exclude: Patterns) -> None:
        super().__init__()
        self.everything = self.takes_all = False
        self._files, self._whole = frozenset(files), frozenset(whole)
        self._unwanted = exclude
        self._folders = {
            path[:at] for path in (*self._files, *self._whole) for at, byte in enumerate(path) if byte == ord("/")
        }
        self.left = set(self._files | self._whole)

    def leaves_out(self, path: bytes, shown: bytes, folder: bool = False) -> bool:
        self.left.discard(path)
        if self._is_below(path):
            return self._unwanted.match(path, folder)
        return path not in self._whole and path not in (self._folders if folder else self._files)

    def takes(self, path: bytes, folder: bool = False) -> bool:
        return path in self._whole or (not folder and path in self._files) or self._is_below(path)

    def _is_below(self, path: bytes) -> bool:
        return bool(self._whole) and any(path[:at] in self._whole for at, byte in enumerate(path) if byte == ord("/"))

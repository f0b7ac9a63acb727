"""Folders below one folder, opened component by component and never through a link; few are open at a time."""

from __future__ import annotations

import os
from threading import Lock

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""How a file in one is opened to be read: not through a link either, nor waiting for the writer of a pipe that took its
place."""


class Descriptor:
    """An open descriptor. It closes when the last one who uses it lets go, so that one thread can push it out of a
    cache while another is still opening a file with it."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


class OpenFolders:
    """Descriptors of folders by their path below `top` (`b""` is `top` itself). Safe in threads.

    No path leads out of `top`, and none is longer for the kernel than one name, so depth has no limit.
    """

    def __init__(self, top: Descriptor, limit: int = 32) -> None:
        self._top = top
        self._limit = limit
        self._cached: dict[bytes, Descriptor] = {}
        self._lock = Lock()

    def at(self, path: bytes) -> Descriptor:
        """The open folder at `path`. Raises `OSError`; for a link or a file in the way: ELOOP or ENOTDIR."""
        if not path:
            return self._top
        with self._lock:
            descriptor = self._cached.pop(path, None)
            if descriptor is not None:
                self._cached[path] = descriptor
                return descriptor
        return self._open_below(*self._nearest(path), path)

    def _nearest(self, path: bytes) -> tuple[Descriptor, int]:
        """The deepest ancestor that is open, and the length of its path."""
        end = len(path)
        with self._lock:
            while (end := path.rfind(b"/", 0, end)) > 0:
                if descriptor := self._cached.get(path[:end]):
                    return descriptor, end
        return self._top, 0

    def _open_below(self, folder: Descriptor, end: int, path: bytes) -> Descriptor:
        above = path.count(b"/", end + 1)
        while end < len(path):
            start = end + 1 if end else 0
            end = path.find(b"/", start)
            end = len(path) if end < 0 else end
            folder = Descriptor(os.open(path[start:end], _OPEN_FOLDER, dir_fd=folder.number))
            # The nearest folders above will be wanted next; all of a deep path's would push out everything else.
            if above <= self._limit // 2:
                self._keep(path[:end], folder)
            above -= 1
        return folder

    def _keep(self, path: bytes, folder: Descriptor) -> None:
        with self._lock:
            self._cached.pop(path, None)
            self._cached[path] = folder
            if len(self._cached) > self._limit:
                del self._cached[next(iter(self._cached))]

    def forget(self, path: bytes) -> None:
        """Close the folder at `path` unless someone uses it."""
        with self._lock:
            self._cached.pop(path, None)

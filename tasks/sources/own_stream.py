"""Streams of what a source has made itself: of bytes that are there, and of a file of its own."""

from __future__ import annotations

from pathlib import Path

from tasks.item import Entry, Reading, Unreadable


class InMemory:
    """A `Stream` of bytes that are there."""

    def __init__(self, content: bytes, entry: Entry) -> None:
        self._rest = memoryview(content)
        self._entry = entry

    def readinto(self, buffer: memoryview, /) -> int:
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> Reading:
        return Reading(self._entry)


class CopiedFile:
    """A `Stream` of a file of our own, with the entry of what it is a copy of. Raises `Unreadable`."""

    def __init__(self, path: Path | bytes, entry: Entry) -> None:
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - `close` does
        except OSError as error:
            raise Unreadable(str(error.strerror)) from error
        self._entry = entry

    def readinto(self, buffer: memoryview, /) -> int:
        return self._file.readinto(buffer) or 0

    def close(self) -> Reading:
        self._file.close()
        return Reading(self._entry)

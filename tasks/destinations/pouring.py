"""Objects that are large, from one destination to another: as files, for several of them are too much to be held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from tasks.destinations.body import crc32c_of
from tasks.destinations.destination import Destination
from tasks.destinations.file_errors import explained


@runtime_checkable
class Pouring(Protocol):
    """A destination that gives an object without holding all of it in memory."""

    def pour(self, name: str, into: BinaryIO) -> None:
        """Make a file of the object, in place of what is in it. Raises what `get` does, and `NoSpace` of the file; then
        that may hold some of it."""
        ...


def pour(destination: Destination, name: str, into: BinaryIO) -> None:
    """`Pouring.pour`, of any destination."""
    if isinstance(destination, Pouring):
        destination.pour(name, into)
    else:
        poured([destination.get(name)], into)


def poured(pieces: Iterable[bytes], into: BinaryIO) -> tuple[int, str]:
    """Make a file of these: how many bytes that is, and their checksum. Raises `NoSpace`, `Refused`, `Unavailable` of
    the file, and what whoever gives the pieces does."""
    path = Path(into.name)

    def passed() -> Iterator[bytes]:
        for piece in pieces:
            with explained("keep", path):
                into.write(piece)
            yield piece

    with explained("keep", path):
        into.seek(0)
    checksum = crc32c_of(passed())
    with explained("keep", path):
        return into.truncate(), checksum

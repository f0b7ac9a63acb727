"""The protocol every destination keeps: flat names to whole, immutable objects."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from tasks.errors import Damaged, Refused

T = TypeVar("T")


class Lent(NamedTuple):
    """A file of another destination: what is put is another file with the same bytes, for one may be lost alone."""

    path: Path


Data = bytes | bytearray | memoryview | Path | Lent
"""What can be put: bytes, a finished file of the spool that nobody writes to any more, or another destination's."""

GREATEST_OBJECT = 256 << 20
"""Bytes. Packs have an eighth of it, and what is read whole otherwise has mostly less; so what has more was not stored
by this program, and would only fill the memory."""

READS_OF_DAMAGE = 3
"""Of what is far away, before it counts as damaged: mostly it was damaged on its way."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}(?:/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199})*")


class Listed(NamedTuple):
    """One listed object; `size` in bytes."""

    name: str
    size: int


class Destination(Protocol):
    """Stores objects under names such as `packs/0a/0a1b`: ASCII letters, digits, `_`, `-` and inner dots, in segments
    of at most 200 joined by `/`, 900 in all; `check_name` refuses others. No name is the folder of another, for not
    every store can hold both. Safe in threads and after a fork."""

    def put(self, name: str, data: Data) -> None:
        """Whole or not at all, durable on return, never replaces. Raises `Exists` (what is there is durable too),
        `NoSpace`, `Refused`, `Unavailable`; `Missing` where the file to be put is not there."""
        ...

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `offset` (None: to the end). Raises `Missing`; `Damaged` where the object is too short
        for the range, or is larger than any that was stored and would be read to its end; `Refused`, `Unavailable`."""
        ...

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """Every object whose name starts with `prefix`, sorted by name, complete or an error, never short. Unfinished
        writes are not listed. No objects: nothing; a store that is not there: `Unavailable`."""
        ...

    def delete(self, name: str) -> None:
        """Remove it, durably. Raises `Missing`, `Refused`, `Unavailable`."""
        ...


@runtime_checkable
class OnDisk(Protocol):
    """A destination, or a view of one, some of whose objects are files of this host."""

    def path_of(self, name: str) -> Path | None:
        """The object's file, to be read or linked and never written; None where it is not there, or no file."""
        ...


@runtime_checkable
class OfFolders(Protocol):
    """A destination that may lie among what is not from here, as on a disk that has other uses."""

    def folders_with(self, name: str) -> Sequence[str]:
        """The folders at its top that hold an object of that name, sorted. Raises as `list` does."""
        ...


def whole(destination: Destination, name: str) -> bytes | Path:
    """An object as another destination's `put` takes it: without reading it, where it is a file of this host."""
    path = destination.path_of(name) if isinstance(destination, OnDisk) else None
    return path or destination.get(name)


def is_near(destination: Destination, name: str) -> bool:
    """Whether an object is a file of this host: there is no latency to hide."""
    return isinstance(destination, OnDisk) and destination.path_of(name) is not None


def reading_again(destination: Destination, name: str, read: Callable[[], T]) -> T:
    """What `read` makes of an object, or of a part of it; where that is `Damaged` and not of this host, it reads again.
    A service gives checksums of whole objects alone, and who opens a part is the first to notice."""
    for _ in range(0 if is_near(destination, name) else READS_OF_DAMAGE - 1):
        with suppress(Damaged):
            return read()
    return read()


def is_name(name: str) -> bool:
    return len(name) <= 900 and _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """The name itself if it is one every destination can hold. Raises `Refused`."""
    if not is_name(name):
        raise Refused(f"`{name[:80]!r}` is no name for a stored object: use letters, digits, `_`, `-` and inner dots")
    return name


def check_prefix(prefix: str) -> str:
    """The prefix itself if some name can start with it; "" is one. Raises `Refused`."""
    if prefix and not is_name(prefix.removesuffix("/")):
        raise Refused(f"`{prefix[:80]!r}` is no start of any stored object's name")
    return prefix


def check_range(name: str, size: int, offset: int, length: int | None) -> int:
    """How many bytes a `get` of that range returns from an object of `size` bytes. Raises `Damaged` where it is too
    short, or too large to be read to its end; `Refused` where the range is negative."""
    if offset < 0 or (length is not None and length < 0):
        raise Refused(f"`{name}` has no bytes {offset}+{length}: a range is not negative")
    if length is None:
        check_size(name, size)
    wanted = max(size - offset, 0) if length is None else length
    if offset + wanted > size:
        raise Damaged(
            f"`{name}` has only {size} bytes where {offset}+{wanted} were asked for: run `verify` on its source"
        )
    return wanted


def check_size(name: str, size: int) -> None:
    """Raises `Damaged` for an object of `size` bytes that is not to be read to its end, before anything of it is."""
    if size > GREATEST_OBJECT:
        raise Damaged(f"`{name}` has {size} bytes, more than anything that is stored here, so it is something else's")

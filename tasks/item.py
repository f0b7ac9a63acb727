"""Items: the named streams a source consists of. What sources hand to a repository, and get back from it.

Neither side knows the other: a source yields `Item`s, a repository keeps their `Entry`s and their bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

FILE, FOLDER, SYMLINK, HARDLINK, FIFO, SOCKET, CHARACTER_DEVICE, BLOCK_DEVICE = "fdlhpscb"


def order(path: bytes) -> bytes:
    """What paths sort by, so that they come as `path.split(b"/")` does: a folder right before what it holds."""
    return path.replace(b"/", b"\0")


class Entry(NamedTuple):
    """What is kept of an item beside its bytes.

    `path` is relative, its parts joined by `/`, any bytes but NUL; items come sorted by `path.split(b"/")`, so a
    folder comes right before what it holds. `version` is whatever changes whenever the content may have changed
    (files: ctime in ns, inode); an item whose (type, size, mtime_ns, version) equal those of the last snapshot is not
    read again; `version[0] == 0` means "always read". `size` is the logical size in bytes. `extents` lists the
    (offset, length) of the data of a sparse file, whose stream holds those bytes only; None: no holes.
    `link` is a symbolic link's target, or the path of the item that a hard link shares its content with.
    """

    path: bytes
    type: str
    mode: int = 0o600
    uid: int = 0
    gid: int = 0
    user: str = ""
    group: str = ""
    mtime_ns: int = 0
    size: int = 0
    version: tuple[int, int] = (0, 0)
    link: bytes = b""
    device: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    extents: tuple[tuple[int, int], ...] | None = None
    cut: str = ""
    digest: bytes = b""

    @property
    def content_size(self) -> int:
        """Bytes in the item's stream: its size less its holes; 0 for anything but a file."""
        if self.type != FILE:
            return 0
        return self.size if self.extents is None else sum(length for _, length in self.extents)


class Reading(NamedTuple):
    """How the reading of a stream ended: the entry as it really was read, and "" or what is wrong with the bytes."""

    entry: Entry
    flaw: str = ""


class Stream(Protocol):
    """An item's bytes, read once from start to end."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill `buffer` from its start; the number of bytes, 0 only at the end. Raises `Vanished`, `Unreadable`."""
        ...

    def close(self) -> Reading: ...


class Item(NamedTuple):
    """One named stream of a source. `open` is lazy, and None for what has no bytes (folders, links, devices).

    `want_digest` asks for the digest of the stream in the stored entry. `cut` hints how to cut (FORMAT.md names
    the ways); "" leaves it to the repository. `columns` hints that the stream consists of rows of fixed width, and how
    many bytes of a row each of its columns has; `expected` hints at how many bytes come where the entry does not know
    its size, or at how many there are in all of what this is a piece of. What is wrong there costs space, never a byte.

    `at_once`, where a source offers it, saves what a stream costs: given the entry, it reads a small item whole into
    the start of a buffer of at least 64 KiB, and gives the entry as `Stream.close` would, with the size of what was
    read. It gives None, and `open` is asked instead, for what is not small, can't be read, or is not as it was listed.
    """

    entry: Entry
    open: Callable[[], Stream] | None = None
    cut: str = ""
    want_digest: bool = False
    columns: tuple[int, ...] = ()
    at_once: Callable[[Entry, memoryview], Entry | None] | None = None
    expected: int = 0


class Flaw(NamedTuple):
    """Something that a snapshot does not hold as it should: `what` is *partial*, *vanished* or *unreadable*; or, of a
    whole source, *emptied*."""

    path: bytes
    what: str
    why: str = ""


class Vanished(Exception):
    """The item was listed but was gone when it was opened."""


class Unreadable(Exception):
    """The item is there but can't be read; the text says why."""


class Stored(NamedTuple):
    """An item as a snapshot holds it. `level`, `content` and `columns` are the repository's own way to its bytes."""

    entry: Entry
    level: int = 0
    content: bytes = b""
    columns: tuple[int, ...] = ()


class Sink(Protocol):
    """Where `StoredItems.extract` puts bytes. Called from several threads at once, for different blocks."""

    def write(self, item: Stored, offset: int, data: memoryview) -> None:
        """`data` belongs at `offset` of the item's stream. Runs come in any order, each once."""
        ...

    def complete(self, item: Stored) -> None:
        """All of the item's bytes have been written; called once, also for an empty item."""
        ...


@runtime_checkable
class WholeSink(Sink, Protocol):
    """A sink that takes small items at once."""

    def whole(self, item: Stored, data: memoryview) -> None:
        """`data` is all of the item's stream: `write` and `complete` in one, neither of which is called for it."""
        ...


class InPlace(Protocol):
    """What is in an item's place, open to be compared."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...

    def close(self) -> None: ...

    def stayed(self) -> bool:
        """Whether it is still there, and nobody has changed it since it was opened. Raises `OSError`."""
        ...


@runtime_checkable
class KeepingSink(Sink, Protocol):
    """A sink that may have items already."""

    @property
    def may_keep(self) -> bool:
        """Whether it is to be asked, before an item's bytes come."""
        ...

    def there(self, item: Stored) -> InPlace | None:
        """What is in the item's place, where it is the item but for its bytes, which are not known."""
        ...

    def kept(self, item: Stored) -> None:
        """They are the item's: nothing else is called for it."""
        ...


@runtime_checkable
class ForgivingSink(Sink, Protocol):
    """A sink that may do without an item whose bytes are damaged."""

    def lost(self, item: Stored, error: Exception) -> None:
        """Some of the item's bytes can't be had, so it is never complete; more of them may come. Called maybe more than
        once. Raises `error` where one that is lost ends it all."""
        ...


class StoredItems(Protocol):
    """A snapshot's items, as a source reads them back."""

    def __iter__(self) -> Iterator[Stored]: ...

    def open(self, item: Stored) -> Stream:
        """The item's bytes in order. Raises `Damaged` rather than return a wrong byte."""
        ...

    def extract(self, items: Iterable[Stored], into: Sink) -> None:
        """All bytes of many items, each stored block read once, in parallel. Raises `Damaged`."""
        ...


@runtime_checkable
class SortedItems(StoredItems, Protocol):
    """Items of which some can be read without all that come before."""

    def since(self, path: bytes) -> Iterator[Stored]:
        """From some item at or before `path` on."""
        ...

    def below(self, paths: Collection[bytes]) -> Iterator[Stored]:
        """In their order, each once: all that are at or below one of these paths, and some that lie near them."""
        ...


Facts = dict[str, Any]
"""What a source counted while it captured; JSON, to be compared with what `examine` counts in a restored copy: digests
with those of a build that takes the same ones (`content_digest`). `HELD` among them: how much there was in a server; 0
only where there was nothing at all."""

HELD = "held"

"""A file so large that several captures share it: each takes a piece of its bytes, one more reads all of it for the
digest, and whoever joins the parts makes one item of it, if it was the same file for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

from tasks.content_digest import SIZE as DIGEST
from tasks.content_digest import ContentDigest
from tasks.errors import BackupError
from tasks.item import FILE, Facts, Flaw, Item, Reading, Stored, Stream, Unreadable, Vanished
from tasks.listing import Listed, listed, one_by_one
from tasks.progress import Progress
from tasks.repository import Part, Whole, chunker
from tasks.repository.saved import Saved
from tasks.sources.source import Capture
from tasks.sources.stretch import Stretch

_ALIGNED = 2 << 20
"""Pieces begin at a multiple of this, and so of every size of pages and numbers."""
_BUFFER = 1 << 20


@runtime_checkable
class Partial(Stream, Protocol):
    """A stream that can be read in part."""

    def only(self, start: int, end: int) -> None:
        """Before anything is read: give the bytes from `start` to `end` and no others. Raises `Unreadable` where it has
        holes."""
        ...


class Piece(NamedTuple):
    """Some bytes of a file of so many as a `whole`, and how they are cut."""

    path: bytes
    version: tuple[int, int]
    start: int
    end: int
    cut: str
    whole: int

    @property
    def size(self) -> int:
        return self.end - self.start


class Digest(NamedTuple):
    """All of a file, read for its digest alone."""

    path: bytes
    version: tuple[int, int]
    size: int


class Large(NamedTuple):
    """A file that is captured in so many `pieces`; `cut` is the way its beginning asks for."""

    path: bytes
    version: tuple[int, int]
    size: int
    cut: str
    want_digest: bool
    pieces: int = 1

    def parts(self) -> list[Digest | Piece]:
        step = -(-self.size // self.pieces // _ALIGNED) * _ALIGNED
        edges = [*range(0, self.size, step), self.size]
        first = [Digest(self.path, self.version, self.size)] if self.want_digest else []
        made = (Piece(self.path, self.version, start, end, self.cut, self.size) for start, end in pairwise(edges))
        return [*first, *made]

    def joined(self, parts: Iterable[Part]) -> Whole | None:
        """What the captures of its `parts` make; None where it was not the same file for all, or could not be read."""
        pieces, digest = list(parts), b""
        if not all(part.facts.get("sound") and not part.flaws for part in pieces):
            return None
        if self.want_digest:
            noted = bytes.fromhex(pieces.pop(0).facts["digest"])
            digest = noted if len(noted) == DIGEST else b""  # of an earlier build, which was at it before an update
        return Whole(self.path, self.size, digest, tuple((each.saved.level, each.saved.content) for each in pieces))


def large_file(item: Item, old: Stored | None) -> Large | None:
    """A file that can be captured in pieces, looked into for how; `old` is what the last snapshot has of it. None for
    one with holes, one that changes right now, or one whose rows are stored by columns."""
    entry = item.entry
    if entry.type != FILE or item.open is None or item.columns or (old and old.columns):
        return None
    head = memoryview(bytearray(chunker.WHOLE_LIMIT))
    try:
        stream = item.open()
        partly, count = isinstance(stream, Partial), stream.readinto(head)
        found, flaw = stream.close()
    except (Vanished, Unreadable):
        return None
    if flaw or not partly or found.extents is not None or (found.version, found.size) != (entry.version, entry.size):
        return None
    cut = chunker.choose(entry.size, head[:count], old.entry.cut if old else "", item.cut)
    return Large(entry.path, entry.version, entry.size, cut, item.want_digest)


class Some:
    """A capture of some of another one's items: of those that `listed` gives."""

    def __init__(self, inner: Capture) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[Item]:
        return one_by_one(self.listed())

    def listed(self) -> Iterator[Listed]:
        return listed(self._inner)

    def stored(self, item: Stored) -> None:
        self._inner.stored(item)

    def flaws(self) -> Iterable[Flaw]:
        return self._inner.flaws()

    def facts(self) -> Facts:
        return self._inner.facts()


class Without(Some):
    """It passes over some files, which others bring."""

    def __init__(self, inner: Capture, paths: frozenset[bytes]) -> None:
        super().__init__(inner)
        self._paths = paths

    def listed(self) -> Iterator[Listed]:
        for some in listed(self._inner):
            if not isinstance(some, Item) and self._paths.isdisjoint(some.paths):
                yield some
                continue
            for item in one_by_one([some]):
                if item.entry.path not in self._paths or item.entry.type != FILE:
                    yield item


class Only:
    """Of a capture of the stretch that is `alone(path)` that file, whole."""

    def __init__(self, inner: Capture, path: bytes) -> None:
        self._inner, self._path = inner, path

    def __iter__(self) -> Iterator[Item]:
        return (item for item in self._inner if item.entry.path == self._path and item.entry.type == FILE)

    def stored(self, item: Stored) -> None:
        pass

    def flaws(self) -> Iterable[Flaw]:
        return [flaw for flaw in self._inner.flaws() if flaw.path == self._path]

    def facts(self) -> Facts:
        return {}


class PieceCapture(Only):
    """Of such a capture one piece of the file. Its facts say whether it is `sound`: of the file that was divided."""

    def __init__(self, inner: Capture, piece: Piece) -> None:
        super().__init__(inner, piece.path)
        self._piece, self._sound = piece, False

    def __iter__(self) -> Iterator[Item]:
        start, end, size = self._piece.start, self._piece.end, self._piece.size
        for item in super().__iter__():
            assert item.open is not None  # noqa: S101 - it is a file
            opened = partial(_PieceStream, item.open, start, end)
            yield Item(item.entry._replace(size=size), opened, self._piece.cut, expected=self._piece.whole)

    def stored(self, item: Stored) -> None:
        piece = self._piece
        self._sound = (item.entry.version, item.entry.size) == (piece.version, piece.size)

    def facts(self) -> Facts:
        return {"sound": self._sound}


class _PieceStream:
    def __init__(self, opened: Callable[[], Stream], start: int, end: int) -> None:
        self._inner = opened()
        self._size = end - start
        if not isinstance(self._inner, Partial):
            raise BackupError("a source divided a stream that can't be read in part: report this as a bug")
        try:
            self._inner.only(start, end)
        except Unreadable:
            self._inner.close()
            raise

    def readinto(self, buffer: memoryview, /) -> int:
        return self._inner.readinto(buffer)

    def close(self) -> Reading:
        entry, flaw = self._inner.close()
        return Reading(entry._replace(size=self._size), flaw)


def read_digest(capture: Capture, wanted: Digest, progress: Progress) -> Part:
    """Read the file of a capture of the stretch that is `alone(path)`: a part that stores nothing, and has the `digest`
    in its facts, where it is `sound`."""
    began, hasher, done, sound = time.monotonic(), ContentDigest(), 0, False
    buffer = memoryview(bytearray(_BUFFER))
    for item in Only(capture, wanted.path):
        try:
            assert item.open is not None  # noqa: S101 - it is a file
            stream = item.open()
            while count := stream.readinto(buffer):
                hasher.update(buffer[:count])
                done += count
                progress({"done_bytes": done, "total_bytes": wanted.size, "items": 0})
            found, flaw = stream.close()
        except (Vanished, Unreadable):
            break
        sound = not flaw and (found.version, done) == (wanted.version, wanted.size)
    figures = {"content_bytes": 0, "read_bytes": 0, "hashed_bytes": done, "seconds": time.monotonic() - began}
    return Part(Saved(figures=figures), facts={"digest": hasher.hexdigest(), "sound": sound})


def alone(path: bytes) -> Stretch:
    """The stretch that holds this path, and nothing below it."""
    return Stretch(path, path + b"\0")

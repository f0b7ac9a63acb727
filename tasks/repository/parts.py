"""What several captures have stored of one source, each a stretch of its paths, put together: one list of items."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from typing import NamedTuple

import msgpack

from tasks.errors import Damaged
from tasks.item import FILE, HARDLINK, Facts, Flaw, Stored, order
from tasks.repository.saved import InPieces, Saved


@dataclass(slots=True)
class Part:
    """What one capture has stored. `packs` are the new ones, killed tries included; `known` are those that it may rely
    on, as long as it is in memory; all else as in `Saved`."""

    saved: Saved
    packs: tuple[bytes, ...] = ()
    flaws: list[Flaw] = field(default_factory=list)
    facts: Facts = field(default_factory=dict)
    known: frozenset[bytes] | None = None

    def to_bytes(self) -> bytes:
        saved = self.saved
        flaws = [tuple(flaw) for flaw in self.flaws]
        facts = json.dumps(self.facts)
        return bytes(msgpack.packb((saved.level, saved.content, saved.figures, saved.format, self.packs, flaws, facts)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Part:
        """Raises `Damaged`."""
        try:
            level, content, figures, form, packs, flaws, facts = msgpack.unpackb(data, use_list=False)
            found = [Flaw(*flaw) for flaw in flaws]
            return cls(Saved(level, content, [], figures, form), packs, found, json.loads(facts))
        except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
            raise Damaged("what a part of a capture came to can't be read: back up again") from error


class Whole(NamedTuple):
    """A file that was stored in pieces: level and content of the item list of each, which holds nothing else."""

    path: bytes
    size: int
    digest: bytes
    pieces: tuple[tuple[int, bytes], ...]


class Joining:
    """The items of all parts, in order. A folder above the start of a part may come from this and from an earlier one,
    and counts once. `links` are the paths, of one part, that items of later ones share their content with: where the
    capture of such a one failed, so do these. `apart` are lists of files that come in between. `flaws` is complete at
    the end."""

    def __init__(
        self,
        parts: Iterable[Iterable[Stored]],
        links: Collection[bytes],
        apart: Iterable[Iterable[Stored | InPieces]] = (),
    ) -> None:
        self._parts, self._links, self._apart = parts, frozenset(links), apart
        self.flaws: list[Flaw] = []
        self.files = self.content_bytes = 0

    def __iter__(self) -> Iterator[Stored | InPieces]:
        found = dict[bytes, tuple[int, int]]()
        for listed in merge(self._listed(), *self._apart, key=lambda item: order(item.entry.path)):
            item, entry = listed, listed.entry
            if entry.type == FILE:
                self.files += 1
                self.content_bytes += entry.content_size
                if entry.path in self._links:
                    found[entry.path] = entry.size, entry.mtime_ns
            elif entry.type == HARDLINK and entry.link in self._links:
                if entry.link not in found:
                    why = "it shares its content with a file that vanished, or could not be read, meanwhile"
                    self.flaws.append(Flaw(entry.path, "unreadable", why))
                    continue
                # They are one file, of which one name was looked at before it changed, and one thereafter.
                size, mtime = found[entry.link]
                item = Stored(entry._replace(size=size, mtime_ns=mtime))
            yield item

    def _listed(self) -> Iterator[Stored]:
        before = None
        for part in self._parts:
            for item in part:
                at = order(item.entry.path)
                if before is None or at > before:
                    before = at
                    yield item


def in_pieces(whole: Whole, read: Callable[[int, bytes], Iterable[Stored]]) -> InPieces:
    """`read` gives the items of a list. Raises `Damaged`."""
    pieces = tuple(item for level, content in whole.pieces for item in read(level, content))
    found = {piece.entry.path for piece in pieces}, sum(piece.entry.size for piece in pieces)
    if found != ({whole.path}, whole.size) or any(piece.columns for piece in pieces):
        raise Damaged(f"the pieces of {whole.path!r} do not make the file that was divided: back up again")
    return InPieces(pieces[0].entry._replace(size=whole.size, digest=whole.digest), pieces)


def summed(parts: Iterable[Part], names: Iterable[str]) -> dict[str, float]:
    """Of figures, what all parts have together."""
    listed = list(parts)
    return {name: sum(part.saved.figures.get(name, 0) for part in listed) for name in names}

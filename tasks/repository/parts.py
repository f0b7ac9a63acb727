"""What several captures have stored of one source, each a stretch of its paths, put together: one list of items."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import msgpack

from tasks.errors import Damaged
from tasks.item import FILE, HARDLINK, Facts, Flaw, Stored
from tasks.repository.saving import Saved


@dataclass(slots=True)
class Part:
    """What one capture has stored. `packs` are the new ones, killed tries included; all else as in `Saved`."""

    saved: Saved
    packs: tuple[bytes, ...] = ()
    flaws: list[Flaw] = field(default_factory=list)
    facts: Facts = field(default_factory=dict)

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


class Joining:
    """The items of all parts, in order. A folder above the start of a part may come from this and from an earlier one,
    and counts once. `links` are the paths, of one part, that items of later ones share their content with: where the
    capture of such a one failed, so do these. `flaws` is complete at the end."""

    def __init__(self, parts: Iterable[Iterable[Stored]], links: Collection[bytes]) -> None:
        self._parts, self._links = parts, frozenset(links)
        self.flaws: list[Flaw] = []
        self.files = self.content_bytes = 0

    def __iter__(self) -> Iterator[Stored]:
        before, found = None, set[bytes]()
        for part in self._parts:
            for item in part:
                entry = item.entry
                order = entry.path.replace(b"/", b"\0")
                if before is not None and order <= before:
                    continue
                before = order
                if entry.type == FILE:
                    self.files += 1
                    self.content_bytes += entry.content_size
                    if entry.path in self._links:
                        found.add(entry.path)
                elif entry.type == HARDLINK and entry.link in self._links and entry.link not in found:
                    why = "it shares its content with a file that vanished, or could not be read, meanwhile"
                    self.flaws.append(Flaw(entry.path, "unreadable", why))
                    continue
                yield item


def summed(parts: Iterable[Part], names: Iterable[str]) -> dict[str, float]:
    """Of figures, what all parts have together."""
    listed = list(parts)
    return {name: sum(part.saved.figures.get(name, 0) for part in listed) for name in names}

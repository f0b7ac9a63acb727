"""How a source is divided among several captures: by path, into stretches with about the same to read, and files that
are larger than that into pieces of their own.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import msgpack

from tasks.errors import Damaged
from tasks.item import FILE, HARDLINK, Entry, Flaw, Item, Stored, order
from tasks.listing import Listed, listed, one_by_one
from tasks.pieces import Digest, Large, Piece, Some, large_file
from tasks.repository.previous import Previous, is_same
from tasks.repository.records import Group
from tasks.sources.source import Capture, Divisible, Limits
from tasks.sources.stretch import Stretch

MOST_LINKS = 100_000
"""Hard links that are held in memory and in the record; a source with more of them is not divided."""

_UNCHANGED = 0.1
"""What a file that is not read costs, of one that is empty."""
_PEEKED = 1000
_SLACK = 0.1
"""So much of a part more than there is room for makes no part of its own."""
_MOST_PLACES = 8192
_DIGEST = 0.25
"""What it costs to read a byte for its digest, of what it costs to store one."""
_WORTH = 1.5
"""A file of so many parts is worth to be read once more, for its digest alone."""


@dataclass(frozen=True, slots=True)
class Division:
    """The stretches of a source, in order, and the files in them that are captured in pieces, likewise. `reference` is
    the destination that all their captures rely on."""

    reference: str
    stretches: tuple[Stretch, ...]
    large: tuple[Large, ...] = ()

    @property
    def links(self) -> frozenset[bytes]:
        """The paths whose content comes in another part than hard links to them, or may do so."""
        return self.apart.union(first for stretch in self.stretches for first in stretch.links.values())

    @property
    def parts(self) -> list[Stretch | Digest | Piece]:
        """All there is to do; the number of a part is its place here, from 1 on."""
        return [*self.stretches, *(part for large in self.large for part in large.parts())]

    @property
    def numbers(self) -> list[int]:
        """Of the parts, in the order in which they are best begun: what takes longest comes first, so that towards the
        end nobody waits long for another. How much a stretch holds is not known here; it may be as much as a part."""
        costs = [
            math.inf if isinstance(part, Stretch) else _DIGEST * part.size if isinstance(part, Digest) else part.size
            for part in self.parts
        ]
        return sorted(range(1, len(costs) + 1), key=lambda number: -costs[number - 1])

    @property
    def apart(self) -> frozenset[bytes]:
        """The paths that no stretch brings."""
        return frozenset(large.path for large in self.large)

    def to_bytes(self) -> bytes:
        stretches = [(each.start, each.end, dict(each.links)) for each in self.stretches]
        return bytes(msgpack.packb((self.reference, stretches, self.large)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Division:
        """Raises `Damaged`."""
        try:
            reference, stretches, large = msgpack.unpackb(data, strict_map_key=False, use_list=False)
            return cls(reference, tuple(Stretch(*each) for each in stretches), tuple(Large(*each) for each in large))
        except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
            raise Damaged("how the source was divided can't be read: back up again") from error


class Bounded(Some):
    """A capture that ends early where the source turns out to be large: `cut` is the path it did not come to, empty if
    it took all of it."""

    def __init__(self, inner: Capture, source: Divisible) -> None:
        super().__init__(inner)
        self._source, self.cut = source, b""

    def listed(self) -> Iterator[Listed]:
        limits = self._source.limits()
        size = files = 0
        for some in listed(self._inner):
            if not isinstance(some, Item):
                total, count = some.size, len(some.paths)
                if size + total < limits.size and files + count < limits.files:
                    size, files = size + total, files + count
                    yield some
                    continue
            for item in one_by_one([some]):
                if (size >= limits.size or files >= limits.files) and self._source.may_begin_at(item):
                    self.cut = item.entry.path
                    return
                if item.entry.type == FILE:
                    size, files = size + item.entry.size, files + 1  # no holes are known before it is read
                yield item

    def flaws(self) -> Iterable[Flaw]:
        """Not those of what lies behind the cut, where the walk may have been already."""
        flaws = self._inner.flaws()
        return [flaw for flaw in flaws if order(flaw.path) < order(self.cut)] if self.cut else flaws


class Place(NamedTuple):
    """A path, and how much there is before it, or in it, in parts."""

    path: bytes
    size: float


class Places:
    """Where stretches may begin, of which enough are remembered. `total`: how much there is so far, in parts."""

    def __init__(self) -> None:
        self.total = 0.0
        self._places: list[Place] = []
        self._step = 0.0

    def may_begin(self, path: bytes) -> None:
        if not self._places or self.total - self._places[-1].size > self._step:
            self._places.append(Place(path, self.total))
            if len(self._places) > _MOST_PLACES:
                self._places, self._step = self._places[::2], self.total / _MOST_PLACES

    def starts(self, most: int, apart: Iterable[Place] = ()) -> list[bytes]:
        """Where to begin all stretches but the first, of at most so many. `apart`: paths, in order, that count for
        nothing, and for how much they did."""
        edges, sums = [b""], [0.0]
        for path, size in apart:
            edges.append(order(path))
            sums.append(sums[-1] + size)
        places, total = self._places, self.total - sums[-1]
        if len(edges) > 1:
            places = [
                Place(path, before - sums[bisect_left(edges, order(path), 1) - 1]) for path, before in self._places
            ]
        return [place.path for place in _starts(places, total, min(most, math.ceil(total - _SLACK)))]


def weight(entry: Entry, limits: Limits) -> float:
    """What a file is of a part."""
    return entry.content_size / limits.size + 1 / limits.files


def divide(source: Divisible, previous: Iterable[Group], reference: str, *, done_until: bytes = b"") -> Division | None:
    """Look through a source, beside the last snapshot's items, and divide it; None where it is not worth it, or can't
    be. No file is read but the beginning of large ones. What comes before `done_until` was captured, and is a stretch
    of its own."""
    limits, last = source.limits(), Previous(previous, sure=True)
    done = order(done_until)
    links: dict[bytes, bytes] = {}
    places = Places()
    found = list[Large]()
    for item, old, count in _beside(listed(source.capture_stretch(Stretch())), last, done):
        entry, key = item.entry, order(item.entry.path)
        if entry.type == HARDLINK:
            links[entry.path] = entry.link
            if len(links) > MOST_LINKS:
                return None
        if key < done:
            continue
        if source.may_begin_at(item):
            places.may_begin(entry.path)
        if entry.type == FILE:
            unchanged = old is not None and is_same(item, old)
            places.total += count * _UNCHANGED / limits.files if unchanged else weight(entry, limits)
            # A piece is at least as much as all there is by the number of parts, so not many are ever opened.
            worth = _WORTH * limits.size * max(places.total / limits.parts, 1)
            if not unchanged and entry.size >= worth and source.may_begin_at(item):
                found += filter(None, [large_file(item, old)])
    most = limits.parts - 1 if done_until else limits.parts
    large = _in_pieces(found, max(limits.size, places.total * limits.size / most), most)
    left = max(most - sum(each.pieces for each in large), 1)
    apart = (Place(each.path, each.size / limits.size + 1 / limits.files) for each in large)
    starts = [done_until] if done_until else []
    starts += places.starts(left, apart)
    return Division(reference, tuple(stretches_from(starts, links)), tuple(large)) if starts or large else None


def _beside(every: Iterable[Listed], last: Previous, edge: bytes) -> Iterator[tuple[Item, Stored | None, int]]:
    """Each item, the last snapshot's of its path, and for how many files in a row it stands, none of which changed:
    all of them are small, in one folder, and on one side of what `order` makes of the path at the `edge`."""
    for some in every:
        if isinstance(some, Item):
            yield some, last.find(some.entry.path), 1
            continue
        at, paths, stamps = 0, some.paths, some.stamps()
        before = bisect_left(paths, edge, key=order)
        while at < len(paths):
            end = before if at < before else len(paths)
            item, same = some.item(at), last.alike(paths[at:end], stamps[at:end])
            yield item, same[0] if same else last.find(item.entry.path), len(same) or 1
            at += len(same) or 1


def _in_pieces(found: list[Large], size: float, most: int) -> list[Large]:
    """Those files that are worth it, in pieces of about this size, and of at most so many pieces together."""
    while True:
        large = [each._replace(pieces=math.ceil(each.size / size - _SLACK)) for each in found]
        large = [each for each in large if each.size >= _WORTH * size and each.pieces > 1]
        if sum(each.pieces for each in large) <= most:
            return large
        size *= 1.1


def _starts(places: list[Place], total: float, parts: int) -> list[Place]:
    """Where to begin all stretches but the first, so that of at most so many the greatest is as small as can be."""
    if not places:
        return []
    ends = [*(place.size for place in places[1:]), total]
    greatest = max((end - place.size for place, end in zip(places, ends, strict=True)), default=0.0)
    low, high = max(greatest, total / max(parts, 1)), total
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if len(_filled(places, ends, middle)) < parts else (middle, high)
    return _filled(places, ends, high) if parts > 1 else []


def _filled(places: list[Place], ends: list[float], most: float) -> list[Place]:
    begin, starts = 0.0, list[Place]()
    for place, end in zip(places, ends, strict=True):
        if end - begin > most * (1 + 1e-9) and place.size > begin:
            starts.append(place)
            begin = place.size
    return starts


def stretches_from(starts: list[bytes], links: dict[bytes, bytes]) -> Iterator[Stretch]:
    edges = [order(start) for start in starts]
    across: list[dict[bytes, bytes]] = [{} for _ in (*starts, "the first")]
    for path, first in links.items():
        own = bisect_right(edges, order(path))
        if own != bisect_right(edges, order(first)):
            across[own][path] = first
    for start, end, those in zip([b"", *starts], [*starts, b""], across, strict=True):
        yield Stretch(start, end, those)


def seems_large(source: Divisible, figures: dict[str, float] | None) -> bool:
    """By the last snapshot's `figures`; without any, by its first files, for a few large ones are soon seen."""
    limits = source.limits()
    if figures is not None:
        return figures["content_bytes"] > limits.size or figures["files"] > limits.files
    seen = islice(source.capture_stretch(Stretch()), _PEEKED)
    return sum(item.entry.content_size for item in seen) > limits.size

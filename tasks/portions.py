"""How one restore of files is divided among several workers: by path, into portions of about the same size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

import msgpack

from tasks.chosen import Chosen, Wish
from tasks.division import MOST_LINKS, Places, weight
from tasks.errors import Damaged
from tasks.item import FILE, FOLDER, SortedItems, Stored, order
from tasks.sources.source import Limits, Restoring
from tasks.sources.stretch import Stretch
from tasks.sources.survey import Survey

_MOST_THERE = 100_000
"""Folders that may be there already, for they are held in memory and in the record."""
_ODD = "surrogateescape"


@dataclass(frozen=True, slots=True)
class Portions:
    """All that whoever restores a portion has to know. `name` is that of the attempt that divided it, and of its mark;
    `moved`: what comes as the file itself, as its partner of that path does not; `there`: the folders that were there
    before. `items` and `size` are those of all portions."""

    name: str
    snapshot: str
    folder: str
    patterns: tuple[str, ...]
    overwrite: bool
    items: int = 0
    size: int = 0
    starts: tuple[bytes, ...] = ()
    moved: dict[bytes, bytes] = field(default_factory=dict)
    there: tuple[bytes, ...] = ()

    @property
    def into(self) -> Path:
        return Path(self.folder)

    @property
    def how(self) -> Restoring:
        return Restoring(overwrite=self.overwrite)

    def __len__(self) -> int:
        return len(self.starts) + 1

    def chosen(self, number: int, items: SortedItems) -> Iterator[Stored]:
        """What portion `number`, from 1 on, consists of."""
        stretch = Stretch((b"", *self.starts)[number - 1], (*self.starts, b"")[number - 1])
        wants, start, end = self._wish(), order(stretch.start), order(stretch.end)
        partners = _found(items, {partner for path, partner in self.moved.items() if stretch.reaches(path)})
        for item in items.since(stretch.start) if start else items:
            path = item.entry.path
            at = order(path)
            if end and at >= end:
                return
            if at < start:
                continue
            if partner := self.moved.get(path):
                yield _moved(partners.get(partner), path)
            elif wants(item):
                yield item

    def above(self, number: int, items: SortedItems) -> Iterator[Stored]:
        """The chosen folders that the first item of a portion is in."""
        wants, names = self._wish(), (b"", *self.starts)[number - 1].split(b"/")
        for depth in range(1, len(names)):
            path = b"/".join(names[:depth])
            item = _found(items, {path}).get(path)
            if item and item.entry.type == FOLDER and wants(item):
                yield item

    def _wish(self) -> Callable[[Stored], bool]:
        return Wish(self.patterns) if self.patterns else lambda item: True

    def to_bytes(self) -> bytes:
        return bytes(msgpack.packb(astuple(self), unicode_errors=_ODD))

    @classmethod
    def from_bytes(cls, data: bytes) -> Portions:
        """Raises `Damaged`."""
        try:
            return cls(*msgpack.unpackb(data, use_list=False, strict_map_key=False, unicode_errors=_ODD))
        except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
            raise Damaged("how this restore was divided can't be read from the record: restore again") from error


def divided(whole: Portions, chosen: Iterable[Stored], limits: Limits) -> Portions | None:
    """Look through what was chosen, and at the folder that it goes to, without reading or writing a file; None where
    too much would have to be remembered. Raises what `Survey` does."""
    survey, places = Survey(whole.into, overwrite=whole.overwrite), Places()
    for item in chosen:
        survey.see(item)
        places.may_begin(item.entry.path)
        if item.entry.type == FILE:
            places.total += weight(item.entry, limits)
        if len(survey.there) > _MOST_THERE:
            return None
    moved = chosen.moved if isinstance(chosen, Chosen) else {}
    if len(moved) > MOST_LINKS:
        return None
    starts, there = tuple(places.starts(limits.parts)), tuple(sorted(survey.there))
    return replace(whole, starts=starts, moved=moved, there=there)


def _found(items: SortedItems, paths: set[bytes]) -> dict[bytes, Stored]:
    """The items of these paths, by path."""
    return {item.entry.path: item for item in items.below(paths) if item.entry.path in paths}


def _moved(partner: Stored | None, path: bytes) -> Stored:
    if partner is None:
        raise Damaged("the item list is not the one that this restore was divided by: restore again")
    return partner._replace(entry=partner.entry._replace(path=path))

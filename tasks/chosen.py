"""Which snapshot is meant, and which of its items: by patterns in gitignore style, or by exact paths."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from tasks.errors import NotFound, SettingsError
from tasks.item import FOLDER, HARDLINK, SortedItems, Stored
from tasks.repository import Repository, Snapshot
from tasks.sources.path_text import path_text
from tasks.sources.patterns import Patterns


def chosen_snapshot(repository: Repository, snapshot: str, destination: str) -> Snapshot:
    """The named snapshot; the newest for an empty name. Raises `NotFound`."""
    if snapshot:
        return repository.snapshot(snapshot)
    known = repository.readable_snapshots()
    if not known:
        raise NotFound(f"`{repository.source}` has no snapshot at `{destination}` yet: run a backup first")
    return known[-1]


class Wish:
    """Whether one item is meant. Raises `SettingsError` for no pattern."""

    def __init__(self, patterns: Iterable[str], paths: Iterable[bytes] = ()) -> None:
        self.paths = tuple(path.strip(b"/") for path in paths)
        try:
            self._patterns = Patterns(patterns)
        except ValueError as error:
            raise SettingsError(str(error)) from error

    @property
    def reach(self) -> set[bytes] | None:
        """Paths at or below which all lies that is meant; None where that may be anywhere."""
        found = {_as_typed(path) for path in self.paths}
        below = self._patterns.reach
        return None if below is None or None in found else below | {path for path in found if path is not None}

    @property
    def lines(self) -> list[str]:
        return [*self._patterns.lines, *(path.decode("utf-8", "backslashreplace") for path in self.paths)]

    def __call__(self, item: Stored) -> bool:
        path = item.entry.path
        return bool(self.named(path, self.paths)) or self._patterns.match(path, folder=item.entry.type == FOLDER)

    @staticmethod
    def named(path: bytes, paths: Iterable[bytes]) -> list[bytes]:
        """Those of `paths` that it is at or below; they may be typed as they are shown, with what is escaped."""
        found = []
        for exact in paths:
            seen = path_text(path).encode() if b"\\" in exact else path
            if path == exact or path.startswith(exact + b"/") or seen == exact or seen.startswith(exact + b"/"):
                found.append(exact)
        return found


def _as_typed(path: bytes) -> bytes | None:
    """At or below which all lies that is named by a path: only what a backslash is in may stand for something else."""
    plain, backslash, _ = path.partition(b"\\")
    return (plain.rpartition(b"/")[0] or None) if backslash else path


class Chosen:
    """The items that match `patterns`, or are at or below one of the exact `paths`. Goes through the snapshot each time
    it is iterated, so that a long list is never held; where paths or patterns say where in it all of them lie, only
    through that. A hard link whose partner is not among the chosen comes as the file itself.

    `count` and `content_bytes` tell how much it is; `moved`, once it was gone through, what comes as the file itself
    and the path of its partner. Raises `NotFound` for nothing, also at one path, `SettingsError` for no pattern.
    """

    def __init__(self, items: Iterable[Stored], patterns: Iterable[str], paths: Iterable[bytes] = ()) -> None:
        self._items = items
        self.moved: dict[bytes, bytes] = {}
        self.wants = Wish(patterns, paths)
        self._reach = self.wants.reach
        self.count = self.content_bytes = 0
        linked, missing = set[bytes](), set(self.wants.paths)
        for item in filter(self.wants, self._near(self._reach)):
            self.count += 1
            if missing:
                missing.difference_update(self.wants.named(item.entry.path, missing))
            self.content_bytes += item.entry.content_size
            if item.entry.type == HARDLINK:
                linked.add(item.entry.link)
        if missing or not self.count:
            wanted = [path.decode("utf-8", "backslashreplace") for path in sorted(missing)] or self.wants.lines
            raise NotFound(
                f"the snapshot holds nothing that matches `{'`, `'.join(wanted)}`: paths begin with the"
                " name of a folder or file of the source, and `show --items` and `find` tell them"
            )
        self._outside: set[bytes] = set()
        for item in self._near(linked) if linked else ():
            if self._is_outside(item, linked):
                self._outside.add(item.entry.path)
                self.content_bytes += item.entry.content_size  # of the one link that comes in its place

    def __iter__(self) -> Iterator[Stored]:
        partners: dict[bytes, Stored] = {}
        for item in self._near(None if self._reach is None else self._reach | self._outside):
            if item.entry.path in self._outside:
                partners[item.entry.path] = item
            elif self.wants(item):
                partner = partners.get(item.entry.link) if item.entry.type == HARDLINK else None
                yield self._instead(item, partner, partners) if partner else item

    def _near(self, paths: Collection[bytes] | None) -> Iterable[Stored]:
        """All items at or below these paths, or simply all, and maybe others."""
        items = self._items
        return items if paths is None or not isinstance(items, SortedItems) else items.below(paths)

    def _is_outside(self, item: Stored, linked: set[bytes]) -> bool:
        return item.entry.path in linked and not self.wants(item)

    def _instead(self, link: Stored, partner: Stored, partners: dict[bytes, Stored]) -> Stored:
        """The first link becomes the file that is not chosen; the others link to the first."""
        if partner.entry.type == HARDLINK:
            return link._replace(entry=link.entry._replace(link=partner.entry.link))
        self.moved[link.entry.path] = partner.entry.path
        moved = partner._replace(entry=partner.entry._replace(path=link.entry.path))
        partners[link.entry.link] = link._replace(entry=link.entry._replace(link=link.entry.path))
        return moved

"""Capture: items in, packs and an index out.

What it must not know: where items come from, and what becomes of the snapshot.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

from tasks.errors import BackupError, Damaged
from tasks.item import FILE, Flaw, Item, Stored, Unreadable, Vanished, order
from tasks.listing import Listed, Siblings, Stamp
from tasks.repository import chunker, columns
from tasks.repository.buffers import Buffers
from tasks.repository.keys import RepositoryKeys
from tasks.repository.known import Known
from tasks.repository.pack import NAME
from tasks.repository.packing import Packing
from tasks.repository.previous import Previous, is_same
from tasks.repository.records import FINE_NODES, NODES, Group, Grouper, NameList, names_in
from tasks.repository.saved import InPieces, Saved
from tasks.repository.storing import Storing

Progress = Callable[[dict[str, float]], None]
"""Called a few times a second with `done_bytes`, `total_bytes` (0 if unknown) and `items`."""

_REPORT_SECONDS = 0.25
_REPORT_ITEMS = 16


class Lists(Protocol):
    """Reads what earlier runs stored in list packs."""

    def list_chunks(self, names: bytes) -> Iterable[bytes]: ...


class Saving(Storing):
    """One pass. Used once, by one thread."""

    def __init__(
        self,
        keys: RepositoryKeys,
        packing: Packing,
        buffers: Buffers,
        *,
        known: Known,
        previous: Iterable[Group],
        sure: bool = False,
        lists: Lists,
        progress: Progress | None = None,
        expected_bytes: float = 0,
    ) -> None:
        """`known`: the chunks that need not be stored. `previous`: the last snapshot's items, all of whose chunks are
        known if that is `sure`; `lists` reads theirs."""
        super().__init__(keys, packing, buffers, known=known)
        self._known, self._lists = known, lists
        self._previous = Previous(previous, known, sure=sure)
        self._tell, self._expected, self._told = progress, expected_bytes, 0.0
        self._format = 1
        self._flaws: list[Flaw] = []
        self._before: bytes | None = None
        self.items = self.files = self.unchanged = 0

    def save(self, items: Iterable[Listed], stored: Callable[[Stored], None]) -> Saved:
        """Store all items. `stored` hears of each. Raises `BackupError` where items do not come sorted."""
        listed = iter(items)
        try:
            return self._save(listed, stored)
        finally:
            # A source may hold a server's snapshot open between two items, for as long as an error is told of.
            if isinstance(listed, Generator):
                listed.close()

    def relist(self, items: Iterable[Stored | InPieces], stored: Callable[[Stored], None]) -> Saved:
        """Store a list of what is stored already, in the same way as `save` does."""
        grouper = Grouper(self._keep_list)
        for each in items:
            item = self._put_together(each) if isinstance(each, InPieces) else each
            grouper.add(item)
            self._format = max(self._format, 2 if item.columns else 1)
            stored(item)
            self.items += 1
            self._report(time.monotonic())
        level, content = grouper.finish()
        self._submit_all()
        figures: dict[str, float] = {"items": self.items, "stored_bytes": self._packing.stored_bytes}
        return Saved(level, content, [], figures, self._format)

    def _put_together(self, item: InPieces) -> Stored:
        """One list of chunks, from those of the pieces."""
        names = NameList(self._keep_list, FINE_NODES if item.entry.cut == chunker.FINEST else NODES)
        for piece in item.pieces:
            for joined in self._names(piece.level, piece.content):
                names.extend(joined)
        return Stored(item.entry, *names.finish())

    def _names(self, level: int, content: bytes) -> Iterator[bytes]:
        if not level:
            yield content
            return
        for node in self._lists.list_chunks(content):
            yield from self._names(level - 1, node)

    def _save(self, listed: Iterator[Listed], stored: Callable[[Stored], None]) -> Saved:
        started = time.monotonic()
        grouper = Grouper(self._keep_list, self._known.knows)
        for some in listed:
            if isinstance(some, Item):
                self._save_item(some, grouper, stored)
            else:
                self._save_siblings(some, grouper, stored)
        level, content = grouper.finish()
        self._submit_all()
        self._report(float("inf"))
        figures = {
            "items": self.items,
            "files": self.files,
            "unchanged": self.unchanged,
            "content_bytes": self.content_bytes,
            "read_bytes": self.read_bytes,
            "new_bytes": self.new_bytes,
            "stored_bytes": self._packing.stored_bytes,
            "seconds": time.monotonic() - started,
        }
        return Saved(level, content, self._flaws, figures, self._format)

    def _save_siblings(self, files: Siblings, grouper: Grouper, stored: Callable[[Stored], None]) -> None:
        previous, at, paths = self._previous, 0, files.paths
        stamps: Sequence[Stamp] = () if previous.is_at_end else files.stamps()
        while at < len(paths):
            same = previous.alike(paths[at:], stamps[at:]) if stamps else ()
            if not same:
                self._save_item(files.item(at), grouper, stored)
                at += 1
                continue
            self._take_over(same, grouper, stored)
            at += len(same)
            self._before = order(paths[at - 1])
            self._report(time.monotonic())

    def _save_item(self, item: Item, grouper: Grouper, stored: Callable[[Stored], None]) -> None:
        path, previous = item.entry.path, self._previous
        old = None if previous.is_at_end else previous.find(path)
        place = order(path)
        if self._before is not None and place <= self._before:
            raise BackupError(f"the source listed {path!r} twice or out of order: report this as a bug")
        self._before = place
        if old is not None and item.open and is_same(item, old) and (previous.there or self._is_there(old)):
            self._take_over((old,), grouper, stored)
        elif (kept := self._keep(item, old)) is not None:
            if kept is old:
                grouper.add_again(previous.group, previous.at, 1)
            else:
                grouper.add(kept)
            if kept.columns:
                self._format = 2
            stored(kept)
            self.items += 1
        if not self.items % _REPORT_ITEMS:
            self._report(time.monotonic())

    def _take_over(self, files: Sequence[Stored], grouper: Grouper, stored: Callable[[Stored], None]) -> None:
        """Files that are as they were, which the last snapshot's list has one after the other, the first where
        something was found last."""
        grouper.add_again(self._previous.group, self._previous.at, len(files))
        self.files += len(files)
        self.unchanged += len(files)
        self.items += len(files)
        for item in files:
            entry = item.entry
            self.content_bytes += entry.size if entry.extents is None else entry.content_size
            if item.columns:
                self._format = 2
            stored(item)

    def _keep(self, item: Item, old: Stored | None) -> Stored | None:
        entry = item.entry
        if entry.type != FILE or item.open is None:
            return old if old and old.entry == entry and not old.content else Stored(entry)
        self.files += 1
        if item.at_once and entry.size <= chunker.WHOLE_LIMIT and (small := self._read_at_once(item)):
            return small
        try:
            stream = item.open()
        except Vanished:
            self._flaws.append(Flaw(entry.path, "vanished", "it was listed, and gone when it was opened"))
            return None
        except Unreadable as error:
            self._flaws.append(Flaw(entry.path, "unreadable", str(error)))
            return None
        try:
            before = old.columns if old else ()
            widths = columns.wanted(item.columns, before) if item.columns or before else ()
            if widths and entry.content_size > chunker.WHOLE_LIMIT:
                kept = self._read_columns(stream, item, widths)
            else:
                kept = self._read(stream, item, old.entry if old else None)
            entry, flaw = stream.close()
        except (Vanished, Unreadable) as error:
            self._flaws.append(Flaw(entry.path, "unreadable", str(error)))
            self._submit_unfinished()
            with suppress(Vanished, Unreadable):
                stream.close()
            return None
        except BaseException:
            stream.close()
            raise
        size = kept.size
        if entry.size < 0:
            entry = entry._replace(size=size)
        if entry.content_size != size:
            # The record must say what is stored.
            entry, flaw = entry._replace(size=size, extents=None), flaw or "partial"
        if flaw:
            self._flaws.append(Flaw(entry.path, flaw, "it changed while it was read"))
            # The next run reads the item again, or it would take over the flaw without a word.
            entry = entry._replace(version=(0, 0))
        self.content_bytes += size
        return Stored(entry._replace(cut=kept.cut, digest=kept.digest), kept.level, kept.content, kept.columns)

    def _is_there(self, old: Stored) -> bool:
        """Whether all its chunks still are."""
        there = self._previous.there
        return self._all_known(old.level, old.content) if there is None else there

    def _all_known(self, level: int, content: bytes) -> bool:
        """Whether every chunk is there still: what was lost is stored again, by reading the item again."""
        if len(content) <= 4 * NAME:
            if not all(self._known.knows(name) for name in names_in(content)):
                return False
        elif not self._known.has(content).all():
            return False
        if not level:
            return True
        try:
            return all(self._all_known(level - 1, node) for node in self._lists.list_chunks(content))
        except Damaged:
            return False

    def _report(self, now: float) -> None:
        if self._tell and now - self._told >= _REPORT_SECONDS:
            self._told = now
            done = self.content_bytes if now == float("inf") else max(self.content_bytes, self.read_bytes)
            total = max(self._expected, done) if self._expected else 0
            self._tell({"done_bytes": done, "total_bytes": total, "items": self.items})

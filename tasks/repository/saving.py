"""Capture: items in, packs and an index out. One thread reads, cuts and looks up; others compress and seal.

What it must not know: where items come from, and what becomes of the snapshot.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from operator import sub
from typing import NamedTuple, Protocol

from blake3 import blake3

from tasks.errors import BackupError, Damaged
from tasks.item import FILE, Entry, Flaw, Item, Stored, Stream, Unreadable, Vanished
from tasks.repository import chunker, columns
from tasks.repository.block import TARGET, Draft, Profile
from tasks.repository.buffers import SIZE, Buffer, Buffers
from tasks.repository.claims import Claims
from tasks.repository.columns import Splitter
from tasks.repository.compression import STRONG
from tasks.repository.index import Index
from tasks.repository.keys import RepositoryKeys
from tasks.repository.pack import CONTENT, LISTS, NAME
from tasks.repository.packing import Packing
from tasks.repository.previous import Previous, is_same
from tasks.repository.records import FINE_NODES, NODES, Group, Grouper, NameList, names_in
from tasks.repository.saved import InPieces, Saved

Progress = Callable[[dict[str, float]], None]
"""Called a few times a second with `done_bytes`, `total_bytes` (0 if unknown) and `items`."""

_MEDIUM_LIMIT = 2 << 20
_ROOM = 1 << 20
_REPORT_SECONDS = 0.25
_new = tuple.__new__


class Lists(Protocol):
    """Reads what earlier runs stored in list packs."""

    def list_chunks(self, names: bytes) -> Iterable[bytes]: ...


class _Kept(NamedTuple):
    """What became of one stream."""

    level: int
    content: bytes
    size: int
    cut: str
    digest: bytes
    columns: tuple[int, ...] = ()


class Saving:
    """One pass. Used once, by one thread."""

    def __init__(
        self,
        keys: RepositoryKeys,
        packing: Packing,
        buffers: Buffers,
        *,
        known: Index,
        previous: Iterable[Group],
        lists: Lists,
        progress: Progress | None = None,
        expected_bytes: float = 0,
    ) -> None:
        """`known`: the chunks that need not be stored. `previous`: the last snapshot's items; `lists` reads theirs."""
        self._listing = keys.listing
        self._cutting = chunker.Cutting(keys.cutting)
        self._known, self._lists, self._packing, self._buffers = known, lists, packing, buffers
        self._previous = Previous(previous, known)
        self._claims = Claims(keys.naming, known)
        self._progress, self._expected, self._reported = progress, expected_bytes, 0.0
        self._buffer = buffers.take()
        self._at = 0
        self._small = Draft(CONTENT, Profile(STRONG), buffers)
        self._medium = Draft(CONTENT, Profile(every=1), buffers)
        self._list = Draft(LISTS, Profile(STRONG), buffers)
        self._large: Draft | None = None
        self._columns: list[Draft] = []
        self._format = 1
        self._flaws: list[Flaw] = []
        self.items = self.files = self.unchanged = 0
        self.content_bytes = self.read_bytes = self.new_bytes = 0

    def save(self, items: Iterable[Item], stored: Callable[[Stored], None]) -> Saved:
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
        self._submit(self._list)
        self._packing.finish()
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

    def _save(self, items: Iterator[Item], stored: Callable[[Stored], None]) -> Saved:
        started = time.monotonic()
        grouper, previous = Grouper(self._keep_list, self._known.knows), self._previous
        before: bytes | None = None
        for item in items:
            path = item.entry.path
            order = path.replace(b"/", b"\0")
            if before is not None and order <= before:
                raise BackupError(f"the source listed {path!r} twice or out of order: report this as a bug")
            before = order
            old = previous.find(path)
            kept = self._keep(item, old)
            if kept is not None:
                if kept is old:
                    grouper.add(kept, previous.group, previous.at)
                else:
                    grouper.add(kept)
                if kept.columns:
                    self._format = 2
                stored(kept)
                self.items += 1
            self._report(time.monotonic())
        level, content = grouper.finish()
        for draft in (self._small, self._medium, self._list):
            self._submit(draft)
        self._packing.finish()
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

    def _keep(self, item: Item, old: Stored | None) -> Stored | None:
        entry = item.entry
        if entry.type != FILE or item.open is None:
            return old if old and old.entry == entry and not old.content else Stored(entry)
        self.files += 1
        if old is not None and self._is_unchanged(item, old):
            self.unchanged += 1
            self.content_bytes += old.entry.content_size
            return old
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
                kept = self._read(stream, item, old.entry.cut if old else "")
            entry, flaw = stream.close()
        except (Vanished, Unreadable) as error:
            self._flaws.append(Flaw(entry.path, "unreadable", str(error)))
            # What came before the failure counts as stored from now on: other items may rely on it.
            for draft in (self._large, *self._columns):
                if draft is not None:
                    self._submit(draft)
            self._large, self._columns = None, []
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

    def _is_unchanged(self, item: Item, old: Stored) -> bool:
        if not is_same(item, old):
            return False
        there = self._previous.there
        return self._all_known(old.level, old.content) if there is None else there

    def _all_known(self, level: int, content: bytes) -> bool:
        """Whether every chunk is there still: what was lost is stored again, by reading the item again."""
        if len(content) <= 4 * NAME:
            if not all(self._known.knows(name) for name in names_in(content)):
                return False
        elif (self._known.rows(content) < 0).any():
            return False
        if not level:
            return True
        try:
            return all(self._all_known(level - 1, node) for node in self._lists.list_chunks(content))
        except Damaged:
            return False

    def _read_at_once(self, item: Item) -> Stored | None:
        """Read and keep a small item, without the stream that most of its time would go to."""
        if SIZE - self._at <= chunker.WHOLE_LIMIT:
            self._next_buffer(self._at)
        view, start = self._buffer.view, self._at
        entry = item.at_once(item.entry, view[start:]) if item.at_once else None
        if entry is None:
            return None
        size = entry.size
        end = self._at = start + size
        data = view[start:end]
        digest = blake3(data).digest() if item.want_digest else b""
        content = self._keep_whole(data, start, end) if size else b""
        self.read_bytes += size
        self.content_bytes += size
        # As `_replace`: this is done for every file of a first night. The cut and the digest are the last of an entry.
        return _new(Stored, (_new(Entry, (*entry[:-2], "w", digest)), 0, content, ()))

    def _read(self, stream: Stream, item: Item, cut_before: str) -> _Kept:
        """Read and keep a stream as it lies."""
        expected = item.entry.content_size
        room = SIZE - self._at
        if room <= chunker.WHOLE_LIMIT or room <= min(expected, _ROOM):
            self._next_buffer(self._at)
        start = self._at
        filled, ended = self._fill(stream, start)
        size = filled - start
        if ended and size <= chunker.WHOLE_LIMIT:
            self._at = filled
            self.read_bytes += size
            data = self._buffer.view[start:filled]
            digest = blake3(data).digest() if item.want_digest else b""
            return _Kept(0, self._keep_whole(data, start, filled) if size else b"", size, "w", digest)
        hasher = blake3() if item.want_digest else None
        cut = chunker.choose(max(expected, filled - start), self._buffer.view[start:filled], cut_before, item.cut)
        cutter, size = self._cutting.chunker(cut), 0
        names = NameList(self._keep_list, FINE_NODES if cut == chunker.FINEST else NODES)
        medium = ended and filled - start <= _MEDIUM_LIMIT
        self._large = draft = self._medium if medium else Draft(CONTENT, Profile(), self._buffers)
        unhashed = start
        while True:
            if hasher:
                hasher.update(self._buffer.view[unhashed:filled])
            if ends := cutter.cut(self._buffer.view[start:filled], ended):
                names.extend(self._keep_chunks(start, ends, draft))
                start += ends[-1]
                size += ends[-1]
                self.read_bytes += ends[-1]
            self._report(time.monotonic())
            if ended:
                break
            rest = filled - start
            self._next_buffer(start, rest)
            start, unhashed = 0, rest
            filled, ended = self._fill(stream, rest)
        self._at = filled
        self._large = None
        if not medium:
            self._submit(draft)
        level, content = names.finish()
        return _Kept(level, content, size, cut, hasher.digest() if hasher else b"")

    def _read_columns(self, stream: Stream, item: Item, widths: tuple[int, ...]) -> _Kept:
        """The same of a stream of rows, window by window, each column in blocks of its own."""
        splitter = Splitter(stream, widths, want_digest=item.want_digest)
        names = NameList(self._keep_list)
        self._columns = drafts = [Draft(CONTENT, Profile(), self._buffers) for _ in (*widths, "the rest")]
        self._next_buffer(self._at)
        while pieces := splitter.read(self._buffer.view):
            for column, start, end, step in pieces:
                ends = [*range(step, end - start, step), end - start]
                names.extend(self._keep_chunks(start, ends, drafts[column]))
            self.read_bytes += pieces[-1].end
            self._report(time.monotonic())
            self._next_buffer(0)
        self._columns = []
        for draft in drafts:
            self._submit(draft)
        level, content = names.finish()
        return _Kept(level, content, splitter.size, "r", splitter.digest(), splitter.columns())

    def _fill(self, stream: Stream, at: int) -> tuple[int, bool]:
        """Read until the buffer is full or the stream ends: where, and whether it has ended."""
        view = self._buffer.view
        while at < SIZE:
            count = stream.readinto(view[at:])
            if not count:
                return at, True
            at += count
        return at, False

    def _next_buffer(self, at: int, rest: int = 0) -> None:
        """Go on in another buffer, taking along the `rest` bytes at `at`."""
        for draft in (self._small, self._medium, self._large, *self._columns):
            if draft is not None and draft.settle():
                self._submit(draft)
        old: Buffer = self._buffer
        self._buffer = self._buffers.take()
        self._buffer.view[:rest] = old.view[at : at + rest]
        self._buffers.release(old)
        self._at = 0

    def _keep_whole(self, data: memoryview, start: int, end: int) -> bytes:
        """The name of the one chunk of a small stream, which lies from there to there."""
        name = self._claims.naming.name(data)
        if self._claims.claim(name):
            draft = self._small
            draft.add_view(name, self._buffer, start, end)
            self.new_bytes += end - start
            if draft.size >= TARGET:
                self._submit(draft)
        return name

    def _keep_chunks(self, begin: int, ends: list[int], draft: Draft) -> bytes:
        """The names, joined, of the chunks in a row that end so many bytes behind `begin`."""
        names = self._claims.naming.names(self._buffer.view[begin : begin + ends[-1]], ends)
        joined = b"".join(names)
        lengths = array("I", map(sub, ends, chain((0,), ends)))
        for first, until in self._claims.claim_all(names, joined):
            at = first
            while at < until:
                start = ends[at - 1] if at else 0
                # As many as fill the block, which the last one may exceed.
                after = min(bisect_left(ends, start + TARGET - draft.size, at, until) + 1, until)
                draft.add_views(joined[at * NAME : after * NAME], self._buffer, begin + start, lengths[at:after])
                self.new_bytes += ends[after - 1] - start
                if draft.size >= TARGET:
                    self._submit(draft)
                at = after
        return joined

    def _keep_list(self, data: bytes) -> bytes:
        """A chunk of a list pack, under a name that no content has: writers must be able to read it."""
        name = blake3(data, key=self._listing).digest(NAME)
        if self._claims.claim(name):
            self._list.add(name, data)
            if self._list.size >= TARGET:
                self._submit(self._list)
        return name

    def _submit(self, draft: Draft) -> None:
        if draft.size:
            self._packing.submit(draft.take())

    def _report(self, now: float) -> None:
        if self._progress and now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            done = self.content_bytes if now == float("inf") else max(self.content_bytes, self.read_bytes)
            total = max(self._expected, done) if self._expected else 0
            self._progress({"done_bytes": done, "total_bytes": total, "items": self.items})

"""Streams in, names of chunks out: read, cut, looked up, and what is new gathered into blocks, which other threads
compress and seal.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from itertools import chain
from operator import sub
from typing import NamedTuple

from blake3 import blake3

from tasks.content_digest import ContentDigest, content_digest
from tasks.item import Entry, Item, Stored, Stream
from tasks.repository import chunker
from tasks.repository.block import Draft, Profile
from tasks.repository.buffers import SIZE, Buffer, Buffers
from tasks.repository.claims import Claims
from tasks.repository.columns import Splitter
from tasks.repository.compression import STRONG
from tasks.repository.keys import RepositoryKeys
from tasks.repository.known import Known
from tasks.repository.pack import CONTENT, LISTS, NAME
from tasks.repository.packing import Packing
from tasks.repository.records import FINE_NODES, NODES, NameList

_MEDIUM_LIMIT = 2 << 20
_ROOM = 1 << 20
_READ = 1 << 20
"""Bytes of a large stream that are read, hashed and cut before the next: what the caches of one core hold. 3 % less for
models than by whole buffers; but where chunks are as long, each would be looked at twice."""
_ZEROS = bytes(SIZE)
_new = tuple.__new__


class Kept(NamedTuple):
    """What became of one stream."""

    level: int
    content: bytes
    size: int
    cut: str
    digest: bytes
    columns: tuple[int, ...] = ()


class Storing:
    """By one thread. What is small or medium shares blocks with others of its kind; `_submit_all` ends these."""

    def __init__(self, keys: RepositoryKeys, packing: Packing, buffers: Buffers, *, known: Known) -> None:
        """`known`: the chunks that need not be stored."""
        self._listing = keys.listing
        self._cutting = chunker.Cutting(keys.cutting)
        self._packing, self._buffers = packing, buffers
        self._claims = Claims(keys.naming, known)
        self._buffer = buffers.take()
        self._at = 0
        self._small = Draft(CONTENT, Profile(STRONG), buffers)
        self._medium = Draft(CONTENT, Profile(every=1), buffers)
        self._list = Draft(LISTS, Profile(STRONG), buffers)
        self._large: Draft | None = None
        self._columns: list[Draft] = []
        self._zeros = dict[tuple[str, int], tuple[int, bytes]]()
        self.content_bytes = self.read_bytes = self.new_bytes = 0

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
        digest = content_digest(data) if item.want_digest else b""
        content = self._keep_whole(data, start, end) if size else b""
        self.read_bytes += size
        self.content_bytes += size
        # As `_replace`: this is done for every file of a first night. The cut and the digest are the last of an entry.
        return _new(Stored, (_new(Entry, entry[:-2] + ("w", digest)), 0, content, ()))  # noqa: RUF005 - faster

    def _read(self, stream: Stream, item: Item, before: Entry | None) -> Kept:
        """Read and keep a stream as it lies; `before` is what it was last time."""
        expected = item.entry.content_size
        about = before.content_size if before and expected < 0 else max(expected, item.expected)
        room = SIZE - self._at
        if room <= chunker.WHOLE_LIMIT or room <= min(expected, _ROOM):
            self._next_buffer(self._at)
        start = self._at
        filled, ended = self._fill(stream, start, SIZE)
        size = filled - start
        if ended and size <= chunker.WHOLE_LIMIT:
            self._at = filled
            self.read_bytes += size
            data = self._buffer.view[start:filled]
            digest = content_digest(data) if item.want_digest else b""
            return Kept(0, self._keep_whole(data, start, filled) if size else b"", size, "w", digest)
        hasher = ContentDigest() if item.want_digest else None
        cut_before, begin = before.cut if before else "", self._buffer.view[start:filled]
        cut = chunker.choose(max(about, filled - start), begin, cut_before, item.cut)
        size = 0
        names = NameList(self._keep_list, FINE_NODES if cut == chunker.FINEST else NODES)
        read = SIZE if cut == chunker.COARSEST else _READ
        medium = ended and filled - start <= _MEDIUM_LIMIT
        self._large = draft = self._medium if medium else Draft(CONTENT, Profile(), self._buffers)
        unhashed = start
        while True:
            if hasher:
                hasher.update(self._buffer.view[unhashed:filled])
            length, joined = self._cut(cut, start, filled, draft, last=ended)
            names.extend(joined)
            start += length
            size += length
            self.read_bytes += length
            self._report(time.monotonic())
            if ended:
                break
            if filled == SIZE:
                rest = filled - start
                self._next_buffer(start, rest)
                start, filled = 0, rest
            unhashed = filled
            self._at = start  # what lies before may be in blocks; the next stream begins here if this one breaks off
            filled, ended = self._fill(stream, filled, min(SIZE, filled + read))
        self._at = filled
        self._large = None
        if not medium:
            self._submit(draft)
        level, content = names.finish()
        return Kept(level, content, size, cut, hasher.digest() if hasher else b"")

    def _read_columns(self, stream: Stream, item: Item, widths: tuple[int, ...]) -> Kept:
        """The same of a stream of rows, window by window, each column in blocks of its own."""
        splitter = Splitter(stream, widths, item.entry.content_size, want_digest=item.want_digest)
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
        return Kept(level, content, splitter.size, "r", splitter.digest(), splitter.columns())

    def _fill(self, stream: Stream, at: int, until: int) -> tuple[int, bool]:
        """Read into the buffer until there or until the stream ends: where, and whether it has ended."""
        view = self._buffer.view
        while at < until:
            count = stream.readinto(view[at:until])
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

    def _cut(self, cut: str, start: int, end: int, draft: Draft, *, last: bool) -> tuple[int, bytes]:
        """Keep the chunks that these bytes begin with: how long they are, and their names, joined. As many zeros were
        mostly met before, in an image of a disk or what was set aside for more: then it is known already."""
        data = self._buffer.view[start:end]
        zeros = (cut, len(data)) if not last and _ZEROS.startswith(data) else None
        if zeros and (known := self._zeros.get(zeros)):
            return known
        ends = self._cutting.chunker(cut).cut(data, last)
        kept = (ends[-1], self._keep_chunks(start, ends, draft)) if ends else (0, b"")
        if zeros:
            self._zeros[zeros] = kept
        return kept

    def _keep_whole(self, data: memoryview, start: int, end: int) -> bytes:
        """The name of the one chunk of a small stream, which lies from there to there."""
        name = self._claims.naming.name(data)
        if self._claims.claim(name):
            draft = self._small
            draft.add_view(name, self._buffer, start, end)
            self.new_bytes += end - start
            if draft.size >= draft.target:
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
                after = min(bisect_left(ends, start + draft.target - draft.size, at, until) + 1, until)
                draft.add_views(joined[at * NAME : after * NAME], self._buffer, begin + start, lengths[at:after])
                self.new_bytes += ends[after - 1] - start
                if draft.size >= draft.target:
                    self._submit(draft)
                at = after
        return joined

    def _keep_list(self, data: bytes) -> bytes:
        """A chunk of a list pack, under a name that no content has: writers must be able to read it."""
        name = blake3(data, key=self._listing).digest(NAME)
        if self._claims.claim(name):
            self._list.add(name, data)
            if self._list.size >= self._list.target:
                self._submit(self._list)
        return name

    def _submit(self, draft: Draft) -> None:
        if draft.size:
            self._packing.submit(draft.take())

    def _submit_all(self) -> None:
        for draft in (self._small, self._medium, self._list):
            self._submit(draft)
        self._packing.finish()

    def _submit_unfinished(self) -> None:
        """Of a stream that broke off: what came before counts as stored from now on, as other items may rely on it."""
        for draft in (self._large, *self._columns):
            if draft is not None:
                self._submit(draft)
        self._large, self._columns = None, []

    def _report(self, now: float) -> None:
        """Called now and then, with the time of a monotonic clock."""

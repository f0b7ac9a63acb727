"""Chunks of lists, read in the order in which other lists name them: a window is looked up at once, and each block is
decoded once for it. After some months of changes the list of a million items lies in as many places as there were
nights, and comes back to each of them all the time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from itertools import groupby

from tasks.errors import Damaged, NewerFormat
from tasks.numbers import Numbers, numpy
from tasks.repository.blocks import Blocks, cut_short, lost_chunk
from tasks.repository.pack import NAME
from tasks.repository.records import names_in

_WINDOW = 4 << 20
"""Bytes of chunks that are taken from their blocks at once."""

NODES = 16
"""Nodes whose names are joined: of item groups they name as much as about one window."""

_RANGE = 2 << 20
"""Stored bytes of neighbouring blocks that are read together."""

_NEAR = 6 << 20
"""Decoded bytes of the blocks that are kept from one window to the next, which is more than one window takes: where a
list was stored at once, nodes lie among what they name."""

Found = bytes | Damaged | NewerFormat
"""A chunk, or why it can't be had."""


class Lists:
    """Of one repository. Safe in threads."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks, self._index = blocks, blocks.index
        self._near: OrderedDict[int, memoryview] = OrderedDict()
        self._lock = threading.Lock()

    def leaves(self, level: int, content: bytes, what: str, *, go_on: bool = False) -> Iterator[bytes]:
        """The chunk names of a stream, joined, part by part. Raises `Damaged`, `NewerFormat` where it is reached; to
        `go_on`, a node that can't be had stands for what it names, so that only who reads on there meets that."""
        if not level:
            if content:
                yield content
            return
        for at in range(0, len(content), NODES * NAME):
            joined, failure = bytearray(), None
            some = content[at : at + NODES * NAME]
            for name, node in zip(names_in(some), self.find(some, what), strict=True):
                if not isinstance(node, bytes) and not go_on:
                    failure = node
                    break
                joined += node if isinstance(node, bytes) else name
            yield from self.leaves(level - 1, bytes(joined), what, go_on=go_on)
            if failure:
                raise failure

    def chunks(self, names: bytes, what: str) -> Iterator[bytes]:
        """The chunks of these names. Raises `Damaged`, `NewerFormat` where one that can't be had is reached."""
        for found in self.find(names, what):
            if not isinstance(found, bytes):
                raise found
            yield found

    def find(self, names: bytes, what: str) -> Iterator[Found]:
        """The same, and go on. `what` says in an error whose chunks they are."""
        whole = len(names) - len(names) % NAME
        rows = self._index.rows(names[:whole])
        missing = numpy.flatnonzero(rows < 0).tolist()
        at = 0
        for gap in [*missing, len(rows)]:
            yield from self.read(rows[at:gap])
            if gap < len(rows):
                yield lost_chunk(what)
            at = gap + 1
        if whole < len(names):
            yield cut_short(what)

    def read(self, rows: Numbers) -> Iterator[Found]:
        """The chunks in these rows of the index, in this order."""
        block, start, length = self._index.places(rows)
        ends = numpy.cumsum(length)
        at = 0
        while at < len(rows):
            before = int(ends[at - 1]) if at else 0
            until = max(int(numpy.searchsorted(ends, before + _WINDOW, "right")), at + 1)
            part = slice(at, until)
            yield from self._window(rows[part], block[part], start[part].tolist(), length[part].tolist())
            at = until

    def _window(self, rows: Numbers, block: Numbers, start: list[int], length: list[int]) -> list[Found]:
        found: list[Found] = [b""] * len(rows)
        names, numbers = self._index.names(rows), block.tolist()
        grouped = groupby(numpy.argsort(block, kind="stable").tolist(), key=numbers.__getitem__)
        places = {number: list(group) for number, group in grouped}
        for number, data in self._decoded(list(places)):
            if not isinstance(data, memoryview):
                for at in places[number]:
                    found[at] = data
                continue
            for at in places[number]:
                chunk = data[start[at] : start[at] + length[at]]
                try:
                    self._blocks.verify(names[at * NAME : (at + 1) * NAME], chunk, number)
                    found[at] = bytes(chunk)
                except Damaged as error:
                    found[at] = error
        return found

    def _decoded(self, numbers: list[int]) -> Iterator[tuple[int, memoryview | Damaged | NewerFormat]]:
        """These blocks, given in ascending order: first those that are near, then the others."""
        with self._lock:
            near = {number: self._near[number] for number in numbers if number in self._near}
            for number in near:
                self._near.move_to_end(number)
        others = [number for number in numbers if number not in near]
        # One by one, or those that make room for others meanwhile would be held as well.
        while near:
            yield near.popitem()
        for group in self._blocks.neighbours(others, int, _RANGE):
            for number, data in self._read(group):
                if isinstance(data, memoryview):
                    self._keep(number, data)
                yield number, data

    def _keep(self, number: int, block: memoryview) -> None:
        with self._lock:
            self._near[number] = block
            while len(self._near) > 1 and sum(map(len, self._near.values())) > _NEAR:
                self._near.popitem(last=False)

    def _read(self, group: list[int]) -> Iterator[tuple[int, memoryview | Damaged | NewerFormat]]:
        try:
            fetched = self._blocks.fetch(group[0], group[-1])
        except (Damaged, NewerFormat) as error:
            if len(group) == 1:
                yield group[0], error
                return
            # Of a pack that is cut short, the first ones may be there.
            for number in group:
                yield from self._read([number])
            return
        for number in group:
            try:
                yield number, self._blocks.decode(number, fetched)
            except (Damaged, NewerFormat) as error:
                yield number, error

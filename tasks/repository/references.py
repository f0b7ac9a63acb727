"""Which stored chunks snapshots refer to: one mark a chunk, each shared stretch of a list walked once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tasks.numbers import Numbers, numpy
from tasks.repository import records
from tasks.repository.blocks import Blocks
from tasks.repository.lists import NODES, Lists
from tasks.repository.pack import NAME
from tasks.repository.snapshot import Snapshot

_BATCH = (1 << 14) * NAME
_NODES_TOGETHER = (1 << 10) * NAME


class References:
    """`used` holds a boolean for each row of the index. `findings` says, by snapshot, what could not be followed: where
    snapshots share it, only by the first of them. `damaged` are the packs whose lists could not be read."""

    def __init__(self, blocks: Blocks) -> None:
        self._lists, self._index = Lists(blocks), blocks.index
        self.used: Numbers = numpy.zeros(len(self._index), dtype=bool)
        self.findings: dict[str, list[str]] = {}
        self.damaged: set[bytes] = set()
        self._batch = bytearray()
        self._waiting: dict[int, bytearray] = {}
        self._snapshot = ""

    def follow(self, snapshots: Iterable[Snapshot]) -> References:
        for snapshot in snapshots:
            self._snapshot = snapshot.id
            self._groups(snapshot.level, bytes.fromhex(snapshot.content))
            for level in range(max(self._waiting, default=0), -1, -1):
                self._take(level)
        return self

    def _groups(self, level: int, content: bytes) -> None:
        if level:
            for names in self._nodes(content):
                self._groups(level - 1, names)
            return
        for group in self._unseen(content):
            try:
                for each in records.contents(group):
                    self._content(*each)
            except ValueError:
                self._find("the item list holds something that is no record")

    def _content(self, level: int, content: bytes) -> None:
        if len(content) % NAME:
            self._find("a list of chunks in it is cut short")
            return
        batch = self._waiting.setdefault(level, bytearray()) if level else self._batch
        batch += content
        if len(batch) >= (_NODES_TOGETHER if level else _BATCH):
            self._take(level)

    def _take(self, level: int) -> None:
        """What has come together at a level, all of it at once: many long files have few nodes each."""
        if not level:
            self._flush()
            return
        for node in self._unseen(bytes(self._waiting.pop(level, b""))):
            self._content(level - 1, node)

    def _nodes(self, content: bytes) -> Iterator[bytes]:
        """What some nodes that were not walked yet name, joined, part by part."""
        for at in range(0, len(content), NODES * NAME):
            if joined := b"".join(self._unseen(content[at : at + NODES * NAME])):
                yield joined

    def _unseen(self, content: bytes) -> Iterator[bytes]:
        """The list chunks of these names that were not walked yet, marked now."""
        fresh = []
        for row in self._rows(content).tolist():
            if row >= 0 and not self.used[row]:
                self.used[row] = True
                fresh.append(row)
        rows = numpy.array(fresh, numpy.int64)
        for row, found in zip(fresh, self._lists.read(rows), strict=True):
            if isinstance(found, bytes):
                yield found
                continue
            self._find(str(found))
            self.damaged.add(self._index.packs[int(self._index.packs_of(row))].name)

    def _flush(self) -> None:
        rows = self._rows(bytes(self._batch))
        self.used[rows[rows >= 0]] = True
        self._batch.clear()

    def _rows(self, content: bytes) -> Numbers:
        rows = self._index.rows(content)
        missing = int((rows < 0).sum())
        if missing:
            self._find(f"{missing} of its chunks are in no pack that an index names")
        return rows

    def _find(self, what: str) -> None:
        self.findings.setdefault(self._snapshot, []).append(what)

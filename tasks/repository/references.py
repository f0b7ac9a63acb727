"""Which stored chunks snapshots refer to: one mark a chunk, each shared stretch of a list walked once."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.errors import Damaged, NewerFormat
from tasks.repository import records
from tasks.repository.blocks import Blocks
from tasks.repository.numbers import Numbers, numpy
from tasks.repository.pack import NAME
from tasks.repository.snapshot import Snapshot

_BATCH = (1 << 16) * NAME


class References:
    """`used` holds a boolean for each row of the index. `findings` says, by snapshot, what could not be followed: where
    snapshots share it, only by the first of them. `damaged` are the packs whose lists could not be read."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks, self._index = blocks, blocks.index
        self.used: Numbers = numpy.zeros(len(self._index), dtype=bool)
        self.findings: dict[str, list[str]] = {}
        self.damaged: set[bytes] = set()
        self._batch = bytearray()
        self._snapshot = ""

    def follow(self, snapshots: Iterable[Snapshot]) -> References:
        for snapshot in snapshots:
            self._snapshot = snapshot.id
            self._groups(snapshot.level, bytes.fromhex(snapshot.content))
            self._flush()
        return self

    def _groups(self, level: int, content: bytes) -> None:
        for chunk in self._unseen(content):
            if level:
                self._groups(level - 1, bytes(chunk))
                continue
            try:
                for each in records.contents(chunk):
                    self._content(*each)
            except ValueError:
                self._find("the item list holds something that is no record")

    def _content(self, level: int, content: bytes) -> None:
        if level:
            for chunk in self._unseen(content):
                self._content(level - 1, bytes(chunk))
        else:
            self._batch += content
            if len(self._batch) >= _BATCH:
                self._flush()

    def _unseen(self, content: bytes) -> Iterable[memoryview]:
        """The list chunks of these names that were not walked yet, marked now."""
        rows = self._rows(content)
        for at, row in enumerate(rows):
            if row < 0 or self.used[row]:
                continue
            self.used[row] = True
            try:
                yield self._blocks.chunk(content[at * NAME : (at + 1) * NAME], f"snapshot `{self._snapshot}`")
            except (Damaged, NewerFormat) as error:
                self._find(str(error))
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

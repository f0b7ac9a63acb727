"""Where each chunk lies: 24 bytes of memory a chunk, in arrays. FORMAT.md, *Sealed objects*."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import IO, NamedTuple

import msgpack
import zstandard

from tasks.errors import Damaged
from tasks.memory import BUSY, give_back
from tasks.numbers import SLICE, Numbers, numpy
from tasks.repository.names import SortedNames, halves
from tasks.repository.pack import GREATEST_LIST, Block, BlockList, SealedPack, header_size
from tasks.repository.runs import Column, Growing

_KINDS = "QQI"
"""Of what is sorted by name: its halves, and the number of the chunk, in the order in which all lie in the packs."""

_READ = 1 << 18
_MASK = (1 << 32) - 1


class IndexedPack(NamedTuple):
    """A pack as an index object names it; `origin` is that object's name. Its blocks are numbered from `first`."""

    name: bytes
    size: int
    kind: str
    origin: str
    first: int
    blocks: int


class Place(NamedTuple):
    """Where a chunk lies: `block` is a number within the index, `offset` and `length` are of the decoded block."""

    block: int
    offset: int
    length: int


def encode(packs: Iterable[SealedPack]) -> bytes:
    """The payload of an index object."""
    return bytes(msgpack.packb([[pack.name, pack.size, pack.kind, *pack.listed.to_parts()] for pack in packs]))


def decode(name: str, payload: IO[bytes]) -> Iterator[SealedPack]:
    """Pack by pack: of a large index only one is in memory. Raises `Damaged`, perhaps not before the last."""
    unpacker = msgpack.Unpacker(payload, read_size=_READ, max_buffer_size=GREATEST_LIST)
    try:
        for _ in range(unpacker.read_array_header()):
            pack, size, kind, *parts = unpacker.unpack()
            yield SealedPack(pack, kind, size, BlockList.from_parts(parts))
    except (ValueError, TypeError, IndexError, msgpack.exceptions.UnpackException, zstandard.ZstdError):
        raise Damaged(f"`{name}` can't be read as an index") from None


class Index:
    """All chunks of some index objects. First `add`, then `sort`, then look up. A chunk stored twice has either of its
    places."""

    def __init__(self) -> None:
        self.packs: list[IndexedPack] = []
        self._numbers: dict[bytes, int] = {}
        # What `_sort` makes the arrays of; then the blocks that it adds.
        self._rows = Growing(_KINDS)
        self._sums = Column("I", [0])
        self._block_pieces: list[Numbers] = []
        self._first_chunks: list[int] = []
        self._block_count = self._chunk_count = 0
        self._names = SortedNames(numpy.empty(0, numpy.uint64), numpy.empty(0, numpy.uint64))
        # By row, the chunk's number. By that, how many decoded bytes lie before it, modulo 2^32: differences are exact.
        self._chunks, self._before = numpy.empty(0, numpy.uint32), numpy.zeros(1, numpy.uint32)
        # By block: offset, stored and decoded length, method, pack, first chunk.
        self._blocks = numpy.empty((0, 6), numpy.uint32)
        self._first_of_block = self._first_of_pack = numpy.empty(0, numpy.uint32)

    def __len__(self) -> int:
        """Chunks as they are stored: one stored twice counts twice."""
        self._sort()
        return len(self._names)

    def __contains__(self, pack: bytes) -> bool:
        return pack in self._numbers

    def pack(self, name: bytes) -> IndexedPack:
        return self.packs[self._numbers[name]]

    def add(self, pack: SealedPack, origin: str) -> None:
        """Ignored if the pack is there already: two index objects may name it."""
        if pack.name in self._numbers:
            return
        listed, number = pack.listed, len(self.packs)
        words = numpy.frombuffer(listed.blocks.tobytes(), numpy.uint32).reshape(-1, 3)
        stored, counts = words[:, 0], words[:, 2] >> 8
        blocks = numpy.empty((len(words), 6), numpy.uint32)
        blocks[:, 0] = header_size(pack.kind) + numpy.cumsum(stored) - stored
        blocks[:, 1:3], blocks[:, 3], blocks[:, 4] = words[:, :2], words[:, 2] & 0xFF, number
        blocks[:, 5] = self._chunk_count + numpy.cumsum(counts) - counts
        lengths = numpy.frombuffer(listed.lengths.tobytes(), numpy.uint32)
        chunks = numpy.arange(self._chunk_count, self._chunk_count + len(lengths), dtype=numpy.uint32)
        self._rows.add((*halves(listed.names), chunks))
        self._sums.add(numpy.cumsum(lengths, dtype=numpy.uint32) + numpy.uint32(self._sums.last))
        self._block_pieces.append(blocks)
        self._name(pack, origin, len(words))
        self._block_count += len(words)
        self._chunk_count += len(lengths)

    def add_name(self, pack: SealedPack, origin: str) -> None:
        """That there is such a pack, and nothing of what lies in it."""
        if pack.name not in self._numbers:
            self._name(pack, origin, 0)

    def _name(self, pack: SealedPack, origin: str, blocks: int) -> None:
        self._numbers[pack.name] = len(self.packs)
        self.packs.append(IndexedPack(pack.name, pack.size, pack.kind, origin, self._block_count, blocks))
        self._first_chunks.append(self._chunk_count)

    def sort(self) -> None:
        """Once all is added, before it is looked up in threads. Gives back what reading it has taken."""
        self._sort()
        give_back(BUSY)

    def find(self, name: bytes) -> Place | None:
        self._sort()
        row = self._names.row(name)
        if row < 0:
            return None
        return self._place(row)

    def _place(self, row: int) -> Place:
        # As in `_placed`, without what NumPy takes to begin with.
        chunk, before = int(self._chunks[row]), self._before
        block = bisect_right(self._first_of_block.data, chunk) - 1
        start, first = int(before[chunk]), int(before[self._first_of_block[block]])
        return Place(block, (start - first) & _MASK, (int(before[chunk + 1]) - start) & _MASK)

    def rows(self, names: bytes | bytearray) -> Numbers:
        """Of names joined, 16 bytes each: the row of each, or -1."""
        self._sort()
        return self._names.rows(names)

    def places(self, rows: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """Of rows that are there: block, offset and length, as in `Place`."""
        block, offset, length = self._placed(self._chunks[rows])
        return block, offset.astype(numpy.int64), length.astype(numpy.int64)

    def _placed(self, chunks: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """Of chunks' numbers: block, offset and length."""
        first, before = self._first_of_block, self._before
        # Of blocks that begin with the same chunk the last is the one that holds any.
        block = first.searchsorted(chunks, "right") - 1
        start = before[chunks]
        return block, start - before[first[block]], before[chunks + numpy.uint32(1)] - start

    def packs_of(self, rows: Numbers) -> Numbers:
        """Of rows that are there: each one's number in `packs`."""
        numbers: Numbers = self._first_of_pack.searchsorted(self._chunks[rows], "right") - 1
        return numbers

    def again(self, rows: Numbers) -> Numbers:
        """Of rows that are there: the next place of the same chunk, or -1."""
        return self._names.again(rows)

    def used_bytes(self, used: Numbers) -> Numbers:
        """Decoded bytes by pack of the rows for which `used`, a boolean a row, is true."""
        self._sort()
        # From the order of names to that in the packs, which is that of what lies in memory.
        wanted = numpy.zeros(self._chunk_count, bool)
        for at in range(0, len(used), SLICE):
            wanted[self._chunks[at : at + SLICE][used[at : at + SLICE]]] = True
        counted: Numbers = numpy.zeros(len(self.packs))
        first, before = self._first_of_pack, self._before
        for at in range(0, len(wanted), SLICE):
            end = min(at + SLICE, len(wanted))
            sums = numpy.zeros(end - at + 1, numpy.int64)
            numpy.cumsum(numpy.diff(before[at : end + 1]) * wanted[at:end], out=sums[1:])
            packs = slice(*first.searchsorted(numpy.array([at + 1, end], numpy.uint32)) - (1, 0))
            bounds = numpy.append(first[packs], end).clip(at, end) - at
            counted[packs] += numpy.diff(sums[bounds])
        return counted

    def raw_bytes(self) -> Numbers:
        """Decoded bytes by pack."""
        self._sort()
        counted: Numbers = numpy.bincount(self._blocks[:, 4], weights=self._blocks[:, 2], minlength=len(self.packs))
        return counted

    def names(self, rows: Numbers) -> bytes:
        """The names in these rows, joined."""
        return self._names.joined(rows)

    def used_blocks(self, pack: bytes, used: Numbers) -> Iterator[tuple[int, Numbers]]:
        """The blocks of a pack that hold chunks for which `used`, a boolean a row, is true; and the rows of these, in
        the order in which they lie there."""
        self._sort()
        number = self._numbers[pack]
        first, *later = self._first_chunks[number : number + 2]
        after = later[0] if later else self._chunk_count
        rows = numpy.flatnonzero(used & (self._chunks >= first) & (self._chunks < after))
        rows = rows[self._chunks[rows].argsort()]
        block = self._first_of_block.searchsorted(self._chunks[rows], "right") - 1
        bounds = [0, *(numpy.flatnonzero(numpy.diff(block)) + 1).tolist(), len(rows)]
        for start, end in pairwise(bounds):
            if start < end:
                yield int(block[start]), rows[start:end]

    def block(self, number: int) -> tuple[IndexedPack, int, Block]:
        """Block `number`: its pack, its number within that pack, and how it lies there (its count of chunks is 0)."""
        self._sort()
        offset, stored, raw, method, pack, _ = map(int, self._blocks[number])
        return self.packs[pack], number - self.packs[pack].first, Block(offset, stored, raw, method, 0)

    def _sort(self) -> None:
        if not self._block_pieces:
            return
        high, low, self._chunks = self._rows.rows()
        self._names, self._before = SortedNames(high, low), self._sums.numbers()
        self._blocks = numpy.concatenate([self._blocks, *self._block_pieces])
        # In a row, or each look-up would copy them first.
        self._first_of_block = numpy.ascontiguousarray(self._blocks[:, 5])
        self._first_of_pack = numpy.array(self._first_chunks, numpy.uint32)
        self._block_pieces = []

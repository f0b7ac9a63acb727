"""The index finds every chunk where its pack says it lies."""

from __future__ import annotations

import io
import random
from array import array

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import Damaged
from tasks.repository import index as indexes
from tasks.repository.index import Index, Place
from tasks.repository.pack import CONTENT, LISTS, NAME, BlockList, Encoded, SealedPack, header_size

NAMES = st.builds(
    bytes.__add__, st.sampled_from([bytes(8), b"\xff" * 8, b"12345678"]), st.binary(min_size=8, max_size=8)
)
BLOCK = st.lists(st.tuples(NAMES, st.integers(1, 1 << 21)), max_size=6)
PACK = st.tuples(st.sampled_from([CONTENT, LISTS]), st.lists(st.tuples(st.integers(16, 1 << 21), BLOCK), max_size=5))

Blocks = list[tuple[int, list[tuple[bytes, int]]]]


def made(number: int, kind: str, blocks: Blocks) -> SealedPack:
    listed = BlockList()
    for stored, chunks in blocks:
        lengths = array("I", [length for _, length in chunks])
        names = b"".join(name for name, _ in chunks)
        listed.add(stored, Encoded(stored % 5, b"", sum(lengths), names, lengths))
    size = header_size(kind) + sum(stored for stored, _ in blocks) + 100
    return SealedPack(number.to_bytes(NAME, "big"), kind, size, listed)


def places(packs: list[SealedPack]) -> dict[bytes, set[tuple[bytes, int, int, int]]]:
    """By chunk: (pack, offset of its block in the pack, offset in the block, length), computed the slow way."""
    found: dict[bytes, set[tuple[bytes, int, int, int]]] = {}
    for pack in packs:
        at = 0
        for block in pack.listed.located(pack.kind):
            offset = 0
            for row in range(at, at + block.chunks):
                name = bytes(pack.listed.names[row * NAME : (row + 1) * NAME])
                length = pack.listed.lengths[row]
                found.setdefault(name, set()).add((pack.name, block.offset, offset, length))
                offset += length
            at += block.chunks
    return found


def resolved(index: Index, place: Place) -> tuple[bytes, int, int, int]:
    pack, _, block = index.block(place.block)
    return pack.name, block.offset, place.offset, place.length


@given(st.lists(PACK, max_size=6), st.booleans())
def test_every_chunk_is_found_where_it_lies(described: list[tuple[str, Blocks]], between: bool) -> None:
    packs = [made(number, kind, blocks) for number, (kind, blocks) in enumerate(described)]
    index = Index()
    for pack in packs:
        index.add(pack, "index/a")
        index.add(pack, "index/b")
        if between:
            len(index)  # sorts what is there: the rest must merge with it
    right = places(packs)
    for name, several in right.items():
        place = index.find(name)
        assert place is not None
        assert resolved(index, place) in several
        assert index.rows(name)[0] >= 0
    assert index.find(b"never was there.") is None
    assert len(index) == sum(len(pack.listed.lengths) for pack in packs)
    rows = index.rows(b"".join(right))
    assert index.names(rows) == b"".join(right)
    for number, several in zip(index.packs_of(rows), right.values(), strict=True):
        assert index.packs[number].name in {pack for pack, *_ in several}


@given(st.lists(PACK, max_size=5))
def test_every_place_of_a_chunk_is_found_after_its_first(described: list[tuple[str, Blocks]]) -> None:
    packs = [made(number, kind, blocks) for number, (kind, blocks) in enumerate(described)]
    index = Index()
    for pack in packs:
        index.add(pack, "index/a")
    for name in places(packs):
        total = sum(bytes(pack.listed.names[at : at + NAME]) == name for pack in packs for at in starts(pack))
        rows, count = index.rows(name), 0
        while len(rows):
            assert index.names(rows) == name
            rows, count = index.again(rows), count + 1
            rows = rows[rows >= 0]
        assert count == total


def starts(pack: SealedPack) -> range:
    return range(0, len(pack.listed.names), NAME)


@given(st.lists(PACK, min_size=1, max_size=5))
def test_of_a_pack_that_is_only_named_no_chunk_is_known(described: list[tuple[str, Blocks]]) -> None:
    named, *packs = [made(number, kind, blocks) for number, (kind, blocks) in enumerate(described)]
    index = Index()
    index.add_name(named, "index/a")
    index.add(named, "index/b")
    for pack in packs:
        index.add(pack, "index/a")
    assert named.name in index
    assert len(index) == sum(len(pack.listed.lengths) for pack in packs)
    right = places(packs)
    for name, several in right.items():
        place = index.find(name)
        assert place is not None
        assert resolved(index, place) in several
    assert index.raw_bytes()[0] == 0


@given(st.lists(PACK, max_size=5))
def test_used_bytes_and_chunks_are_counted_by_pack(described: list[tuple[str, Blocks]]) -> None:
    packs = [made(number, kind, blocks) for number, (kind, blocks) in enumerate(described)]
    index = Index()
    for pack in packs:
        index.add(pack, "index/a")
    everything = numpy.ones(len(index), dtype=bool)
    raw = [sum(pack.listed.lengths) for pack in packs]
    assert list(index.used_bytes(everything)) == raw
    assert list(index.raw_bytes()) == raw
    assert list(index.used_bytes(~everything)) == [0] * len(packs)
    for pack in packs:
        blocks = list(index.used_blocks(pack.name, everything))
        assert b"".join(index.names(rows) for _, rows in blocks) == bytes(pack.listed.names)
        assert [length for _, rows in blocks for length in index.places(rows)[2].tolist()] == list(pack.listed.lengths)
        assert all(set(index.places(rows)[0].tolist()) == {number} for number, rows in blocks)
        assert {index.block(number)[0].name for number, _ in blocks} <= {pack.name}


@given(st.lists(PACK, max_size=5))
def test_an_index_object_gives_back_its_packs(described: list[tuple[str, Blocks]]) -> None:
    packs = [made(number, kind, blocks) for number, (kind, blocks) in enumerate(described)]
    again = indexes.decode("index/a", io.BytesIO(indexes.encode(packs)))
    assert [(pack.name, pack.kind, pack.size, pack.listed.to_parts()) for pack in again] == [
        (pack.name, pack.kind, pack.size, pack.listed.to_parts()) for pack in packs
    ]


def test_a_hundred_packs_of_a_thousand_chunks() -> None:
    chance = random.Random(1)
    packs = [
        made(number, CONTENT, [(100, [(chance.randbytes(NAME), 10 + at) for at in range(500)]) for _ in range(2)])
        for number in range(100)
    ]
    index = Index()
    for pack in packs:
        index.add(pack, f"index/{pack.name.hex()}")
    right = places(packs)
    assert all(resolved(index, place) in right[name] for name in right if (place := index.find(name)))
    assert len(index) == 100_000
    last = packs[-1]
    assert index.pack(last.name).origin == f"index/{last.name.hex()}"
    assert last.name in index
    assert bytes(16 * [9]) not in index


def test_more_than_four_gigabytes_of_content_are_told_apart() -> None:
    """The bytes before a chunk are counted modulo 2^32."""
    chance = random.Random(3)
    large = 48 << 20
    packs = [
        made(number, CONTENT, [(1000, [(chance.randbytes(NAME), large - at), (chance.randbytes(NAME), 1 + at)])])
        for at, number in enumerate(range(200))
    ]
    index, right = Index(), places(packs)
    for pack in packs:
        index.add(pack, "index/a")
    assert sum(index.raw_bytes()) == 200 * (large + 1)
    assert list(index.used_bytes(numpy.ones(400, bool))) == [large + 1] * 200
    assert all((place := index.find(name)) and resolved(index, place) in right[name] for name in right)


def test_a_chunk_costs_at_most_64_bytes_of_memory() -> None:
    import tracemalloc

    names = random.Random(2).randbytes(NAME * 400_000)
    listed = BlockList()
    for at in range(400):
        part = names[at * 16_000 : (at + 1) * 16_000]
        listed.add(50_000, Encoded(1, b"", 1_000_000, part, array("I", [1000]) * 1000))
    pack = SealedPack(bytes(16), CONTENT, 20_000_000, listed)
    tracemalloc.start()
    index = Index()
    index.add(pack, "index/a")
    assert len(index) == 400_000
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept / 400_000 < 64


def test_an_empty_index_knows_nothing() -> None:
    index = Index()
    assert len(index) == 0
    assert index.find(bytes(16)) is None
    assert list(index.rows(bytes(32))) == [-1, -1]
    assert list(index.raw_bytes()) == []
    assert list(index.used_bytes(numpy.zeros(0, dtype=bool))) == []


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", b"\x01", b"\x91\x93\x01\x02\x03", b"\x91\x96\xc4\x00\x00\xa1D\xc4\x01\x00\xc4\x00\xc4\x00"],
)
def test_what_is_no_index_is_damaged(payload: bytes) -> None:
    with pytest.raises(Damaged, match="index/a"):
        list(indexes.decode("index/a", io.BytesIO(payload)))


def test_a_pack_with_a_list_larger_than_any_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is packed, a few kilobytes may be gigabytes of zeros."""
    monkeypatch.setattr(indexes, "GREATEST_LIST", 1 << 20)
    payload = indexes.encode([SealedPack(bytes(NAME), LISTS, 1, BlockList(names=bytearray(2 << 20)))])
    with pytest.raises(Damaged, match="index/a"):
        next(indexes.decode("index/a", _Counted(payload, 3 << 19)))


class _Counted(io.BytesIO):
    """Of which no more than so much may be read."""

    def __init__(self, content: bytes, left: int) -> None:
        super().__init__(content)
        self._left = left

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        self._left -= len(piece)
        assert self._left >= 0
        return piece

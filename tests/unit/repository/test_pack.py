"""Packs: what is appended comes back, in order; a pack says itself what it holds; nothing else opens."""

from __future__ import annotations

import os
from array import array
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import Damaged, NewerFormat, Refused
from tasks.repository import pack
from tasks.repository.keys import WriterKey
from tasks.repository.pack import (
    CONTENT,
    LISTS,
    NAME,
    BlockList,
    Encoded,
    PackCipher,
    PackWriter,
    SealedPack,
    footer_of,
    header_size,
    object_name,
)
from tests.repositories import SOURCE, keys, other_keys

KEYS = keys().reader.for_source(SOURCE)
BLOCKS = [(0, b"first block"), (1, b"\0" * 1000), (3, b"third"), (255, b"")]


def write(path: Path, kind: str, writer: WriterKey | None = None) -> SealedPack:
    pack = PackWriter(path, kind, (writer or keys().writer).for_source(SOURCE))
    for number, (method, data) in enumerate(BLOCKS):
        names = b"".join(bytes([number, at]) * 8 for at in range(number))
        pack.append(Encoded(method, data, len(data) * 3, names, array("I", [7 + at for at in range(number)])))
    return pack.close()


def cipher(sealed: SealedPack, data: bytes) -> PackCipher:
    return PackCipher(sealed.name, data[:128], KEYS)


@pytest.mark.parametrize("kind", [CONTENT, LISTS])
def test_a_pack_gives_back_its_blocks_in_order_and_its_own_list(kind: str, tmp_path: Path) -> None:
    sealed = write(tmp_path / "pack", kind)
    data = (tmp_path / "pack").read_bytes()
    assert sealed.size == len(data)
    opened = cipher(sealed, data)
    assert opened.kind == sealed.kind == kind
    listed = opened.open_footer(sealed.name, footer_of(sealed.name, memoryview(data)))
    assert listed.to_parts() == sealed.listed.to_parts()
    for number, block in enumerate(listed.located(kind)):
        method, plain = BLOCKS[number]
        assert (block.method, block.raw, block.chunks) == (method, len(plain) * 3, number)
        assert opened.open(number, method, data[block.offset : block.offset + block.stored]) == plain
    assert listed.located(kind)[0].offset == header_size(kind)


def test_a_packs_name_is_the_hash_of_its_footer(tmp_path: Path) -> None:
    sealed = write(tmp_path / "pack", CONTENT)
    footer = footer_of(sealed.name, memoryview((tmp_path / "pack").read_bytes()))
    assert sealed.name == blake3(footer).digest(NAME)
    assert object_name(sealed.name) == f"packs/{sealed.name.hex()[:2]}/{sealed.name.hex()}"


def test_two_packs_of_the_same_blocks_share_neither_key_nor_name(tmp_path: Path) -> None:
    for kind in (CONTENT, LISTS):
        first, second = write(tmp_path / f"1{kind}", kind), write(tmp_path / f"2{kind}", kind)
        assert first.name != second.name
        one, other = (tmp_path / f"1{kind}").read_bytes(), (tmp_path / f"2{kind}").read_bytes()
        block = first.listed.located(kind)[1]
        sealed = slice(block.offset, block.offset + block.stored)
        assert one[sealed] != other[sealed]
        with pytest.raises(Damaged):
            cipher(first, one).open(1, 1, other[sealed])


@pytest.mark.parametrize("kind", [CONTENT, LISTS])
def test_a_block_opens_only_at_its_place_and_by_its_method(kind: str, tmp_path: Path) -> None:
    sealed = write(tmp_path / "pack", kind)
    data = (tmp_path / "pack").read_bytes()
    opened = cipher(sealed, data)
    block = sealed.listed.located(kind)[0]
    content = data[block.offset : block.offset + block.stored]
    assert opened.open(0, 0, content) == BLOCKS[0][1]
    for number, method in [(1, 0), (0, 1), (0xFFFF_FFFE, 0)]:
        with pytest.raises(Damaged):
            opened.open(number, method, content)


def test_without_the_private_key_only_lists_open(tmp_path: Path) -> None:
    lists, content = write(tmp_path / "lists", LISTS), write(tmp_path / "content", CONTENT)
    held = keys().writer.for_source(SOURCE)
    PackCipher(lists.name, (tmp_path / "lists").read_bytes()[:128], held)
    with pytest.raises(Refused):
        PackCipher(content.name, (tmp_path / "content").read_bytes()[:128], held)


def test_the_pack_of_another_keyring_is_damaged_here(tmp_path: Path) -> None:
    sealed = write(tmp_path / "pack", CONTENT, other_keys().writer)
    with pytest.raises(Damaged):
        PackCipher(sealed.name, (tmp_path / "pack").read_bytes()[:128], KEYS)


def test_the_lists_of_another_source_do_not_open(tmp_path: Path) -> None:
    sealed = write(tmp_path / "pack", LISTS)
    data = (tmp_path / "pack").read_bytes()
    stranger = PackCipher(sealed.name, data[:128], keys().reader.for_source("models"))
    with pytest.raises(Damaged):
        stranger.open_footer(sealed.name, footer_of(sealed.name, memoryview(data)))


@pytest.mark.parametrize(
    "header", [b"", b"GBP", b"GBP1", b"GBP1D", b"GBP1D" + bytes(79), b"GBP1X" + bytes(99), bytes(99)]
)
def test_what_does_not_begin_as_a_pack_is_damaged(header: bytes) -> None:
    with pytest.raises(Damaged):
        PackCipher(bytes(16), header, KEYS)


def test_a_pack_of_a_newer_format_says_so() -> None:
    with pytest.raises(NewerFormat):
        PackCipher(bytes(16), b"GBP2D" + bytes(99), KEYS)


@pytest.mark.parametrize("kind", [CONTENT, LISTS])
def test_a_footer_is_bound_to_header_and_name(kind: str, tmp_path: Path) -> None:
    sealed = write(tmp_path / "pack", kind)
    data = (tmp_path / "pack").read_bytes()
    footer = footer_of(sealed.name, memoryview(data))
    with pytest.raises(Damaged):
        cipher(sealed, data).open_footer(bytes(16), footer)
    for at in range(0, len(footer), 7):
        wrong = bytearray(footer)
        wrong[at] ^= 1
        with pytest.raises(Damaged):
            cipher(sealed, data).open_footer(sealed.name, bytes(wrong))
        with pytest.raises(Damaged):
            cipher(sealed, data).open_footer(blake3(bytes(wrong)).digest(NAME), bytes(wrong))


def test_a_footer_that_says_it_is_larger_than_any_is_not_even_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "GREATEST_LIST", 50)
    sealed = write(tmp_path / "pack", LISTS)
    data = (tmp_path / "pack").read_bytes()
    with pytest.raises(Damaged, match="its footer"):
        cipher(sealed, data).open_footer(sealed.name, footer_of(sealed.name, memoryview(data)))


@given(end=st.integers(0, 500))
def test_a_pack_that_is_cut_short_has_no_footer(end: int) -> None:
    data = (b"GBP1D" + bytes(600))[:end]
    with pytest.raises(Damaged):
        footer_of(bytes(16), memoryview(data))


def test_a_footer_longer_than_its_pack_is_damage() -> None:
    with pytest.raises(Damaged):
        footer_of(bytes(16), memoryview(bytes(50) + b"\xff\xff\xff\x7fGBPE"))


def test_an_abandoned_pack_leaves_no_file_and_no_open_file(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    pack = PackWriter(tmp_path / "pack", CONTENT, KEYS)
    pack.append(Encoded(0, b"something", 9, bytes(16), array("I", [9])))
    pack.abandon()
    assert not list(tmp_path.iterdir())
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_unfinished_pack_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    pack = PackWriter(tmp_path / "pack", CONTENT, KEYS)
    assert (tmp_path / "pack").stat().st_mode & 0o077 == 0
    pack.abandon()


@pytest.mark.parametrize(
    ("blocks", "names", "lengths"),
    [
        ([1, 1], 0, 0),
        ([1, 1, 1 << 8], 0, 0),
        ([1, 1, 1 << 8], 16, 0),
        ([1, 1, 1 << 8], 15, 1),
        ([1, 1, 1 << 8], 32, 1),
        ([1, 1, 2 << 8], 16, 1),
        ([], 16, 1),
    ],
)
def test_a_block_list_whose_parts_do_not_fit_is_refused(blocks: list[int], names: int, lengths: int) -> None:
    parts = [array("I", blocks).tobytes(), bytes(names), array("I", [1] * lengths).tobytes()]
    with pytest.raises(ValueError, match="fit"):
        BlockList.from_parts(parts)


@given(st.lists(st.tuples(st.integers(16, 1 << 22), st.integers(0, 1 << 21), st.integers(0, 4), st.integers(0, 9))))
def test_a_block_list_survives_being_stored(blocks: list[tuple[int, int, int, int]]) -> None:
    listed = BlockList()
    for stored, raw, method, chunks in blocks:
        listed.add(stored, Encoded(method, b"", raw, os.urandom(NAME * chunks), array("I", range(chunks))))
    again = BlockList.from_parts(listed.to_parts())
    assert again.to_parts() == listed.to_parts()
    located = again.located(CONTENT)
    assert [(block.stored, block.raw, block.method, block.chunks) for block in located] == blocks
    ends = [header_size(CONTENT), *(block.offset + block.stored for block in located)]
    assert [block.offset for block in located] == ends[:-1]

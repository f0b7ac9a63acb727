"""Packs: sealed blocks in one stored object, with a footer that lists them. FORMAT.md, *Chunks, blocks, packs*."""

from __future__ import annotations

import os
import struct
from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgpack
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tasks.errors import Damaged, NewerFormat, WrongKey
from tasks.repository.keys import RepositoryKeys
from tasks.repository.zstd import decompress

CONTENT, LISTS = "D", "L"
TARGET = 32 << 20
"""Bytes after which a pack is closed."""

MOST_CHUNKS = 1 << 17
"""Chunks after which it is closed too: of tiny files a million fit into one, and the list of them into no memory."""

_MAGIC, _END, _TAG = b"GBP1", b"GBPE", 16
_MATERIAL = {CONTENT: 80, LISTS: 32}
_TRAILER = struct.Struct("<I4s")
_NONCE = struct.Struct("<IB7x")
_FOOTER = 0xFFFF_FFFF

TRAILER = _TRAILER.size
"""Bytes at a pack's end that say where its footer begins."""
LONGEST_HEADER = len(_MAGIC) + 1 + max(_MATERIAL.values())


GREATEST_LIST = 1 << 28
"""Decoded bytes of a block list: a hundred times as many chunks as a pack is closed at."""

NAME = 16
"""Bytes of a chunk's or a pack's name."""


def header_size(kind: str) -> int:
    return len(_MAGIC) + 1 + _MATERIAL[kind]


def object_name(pack: bytes) -> str:
    text = pack.hex()
    return f"packs/{text[:2]}/{text}"


def pack_named(name: str) -> bytes | None:
    """The pack whose object has this name; None for what is no pack's."""
    with suppress(ValueError):
        pack = bytes.fromhex(name.rpartition("/")[2])
        return pack if object_name(pack) == name else None
    return None


class Block(NamedTuple):
    """A block as it lies in a pack: `offset` and `stored` in bytes of the pack, `raw` its decoded length."""

    offset: int
    stored: int
    raw: int
    method: int
    chunks: int


class Encoded(NamedTuple):
    """A block before it is sealed: its encoded bytes, decoded length, and the names and lengths of its chunks."""

    method: int
    data: bytes | memoryview
    raw: int
    names: bytes
    lengths: array[int]


@dataclass(slots=True)
class BlockList:
    """What a pack's footer, and its part of an index, say: the blocks, and their chunks one after the other."""

    blocks: array[int] = field(default_factory=lambda: array("I"))
    names: bytearray = field(default_factory=bytearray)
    lengths: array[int] = field(default_factory=lambda: array("I"))

    def add(self, stored: int, block: Encoded) -> None:
        self.blocks.extend((stored, block.raw, block.method | len(block.lengths) << 8))
        self.names += block.names
        self.lengths.extend(block.lengths)

    def to_parts(self) -> list[bytes]:
        return [self.blocks.tobytes(), bytes(self.names), self.lengths.tobytes()]

    @classmethod
    def from_parts(cls, parts: list[bytes]) -> BlockList:
        """Raises `ValueError` where the parts do not fit each other."""
        listed = cls()
        listed.blocks.frombytes(parts[0])
        listed.names = bytearray(parts[1])
        listed.lengths.frombytes(parts[2])
        counted = sum(word >> 8 for word in listed.blocks[2::3])
        if len(listed.blocks) % 3 or not counted == len(listed.lengths) == len(listed.names) / NAME:
            raise ValueError("its parts do not fit each other")
        return listed

    def located(self, kind: str) -> list[Block]:
        """The blocks with their offsets in a pack of that kind."""
        offset, located = header_size(kind), []
        for at in range(0, len(self.blocks), 3):
            stored, raw, word = self.blocks[at : at + 3]
            located.append(Block(offset, stored, raw, word & 0xFF, word >> 8))
            offset += stored
        return located


class SealedPack(NamedTuple):
    """A finished pack."""

    name: bytes
    kind: str
    size: int
    listed: BlockList


class PackWriter:
    """Appends blocks to a file of its own, whose name is no stored object's until `close`. Not shared by threads."""

    def __init__(self, path: Path, kind: str, keys: RepositoryKeys) -> None:
        key = os.urandom(32)
        if kind == CONTENT:
            material = keys.writer.seal_pack_key(key)
        else:
            material = os.urandom(_MATERIAL[LISTS])
            key = blake3(material, key=keys.metadata).digest()
        self.path, self.kind = path, kind
        self._cipher = AESGCM(key)
        self._listed = BlockList()
        self._count = 0
        self._header = _MAGIC + kind.encode() + material
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.size = _write(self._file, self._header)
        self._buffer = bytearray(0)

    @property
    def is_full(self) -> bool:
        return self.size >= TARGET or len(self._listed.lengths) >= MOST_CHUNKS

    def append(self, block: Encoded) -> int:
        """Seal one block. Returns the bytes it takes."""
        stored = len(block.data) + _TAG
        if len(self._buffer) < stored:
            self._buffer = bytearray(stored)
        sealed = memoryview(self._buffer)[:stored]
        self._cipher.encrypt_into(_NONCE.pack(self._count, block.method), block.data, None, sealed)
        self.size += _write(self._file, sealed)
        self._count += 1
        self._listed.add(stored, block)
        return stored

    def close(self) -> SealedPack:
        """Write the footer and make the file durable."""
        footer = self._cipher.encrypt(_NONCE.pack(_FOOTER, 0), _pack_list(self._listed), self._header)
        self.size += _write(self._file, footer + _TRAILER.pack(len(footer), _END))
        os.fsync(self._file)
        os.close(self._file)
        return SealedPack(blake3(footer).digest(NAME), self.kind, self.size, self._listed)

    def abandon(self) -> None:
        os.close(self._file)
        self.path.unlink(missing_ok=True)


class PackCipher:
    """Opens the blocks of one pack, given its first bytes. Raises `Damaged`, `NewerFormat`, `Refused`."""

    def __init__(self, name: bytes, header: bytes, keys: RepositoryKeys) -> None:
        self.object = object_name(name)
        kind = header[4:5].decode("latin-1")
        if header[:3] == _MAGIC[:3] and header[3:4] > _MAGIC[3:]:
            raise NewerFormat(f"`{self.object}` was written by a newer version: upgrade first")
        if header[:4] != _MAGIC or kind not in _MATERIAL or len(header) < header_size(kind):
            raise Damaged(f"`{self.object}` does not begin as a pack does")
        self.kind = kind
        self.header = header[: header_size(kind)]
        material = self.header[5:]
        if kind == LISTS:
            key = blake3(material, key=keys.metadata).digest()
        else:
            try:
                key = keys.writer.as_reader().open_pack_key(material)
            except WrongKey:
                # The repository's marker fits the keyring, so the pack is at fault and not the key.
                raise Damaged(f"`{self.object}`: the key in its header does not open") from None
        self._cipher = AESGCM(key)

    def open(self, number: int, method: int, sealed: bytes | memoryview) -> bytes:
        """Block `number`, still encoded."""
        try:
            return self._cipher.decrypt(_NONCE.pack(number, method), sealed, None)
        except InvalidTag:
            raise Damaged(f"`{self.object}`: block {number} is not what was stored") from None

    def open_footer(self, name: bytes, footer: bytes) -> BlockList:
        """The block list of a sealed footer, checked against the pack's name."""
        if blake3(footer).digest(NAME) != name:
            raise Damaged(f"`{self.object}`: another pack's footer, or a changed one")
        try:
            plain = self._cipher.decrypt(_NONCE.pack(_FOOTER, 0), footer, self.header)
            return _unpack_list(plain)
        except (InvalidTag, ValueError, msgpack.exceptions.UnpackException):
            raise Damaged(f"`{self.object}`: its footer is not what was stored") from None


def footer_reach(trailer: memoryview) -> int:
    """Bytes from a footer's start to the end of its pack, as the pack's last bytes say."""
    return TRAILER + (_TRAILER.unpack(trailer)[0] if len(trailer) == TRAILER else 0)


def footer_of(name: bytes, data: memoryview) -> bytes:
    """The sealed footer of a pack, given all of it or its end. Raises `Damaged`."""
    size, end = _TRAILER.unpack(data[-_TRAILER.size :]) if len(data) > _TRAILER.size else (0, b"")
    if end != _END or size + _TRAILER.size > len(data):
        raise Damaged(f"`{object_name(name)}` is cut short: it does not end as a pack does")
    return bytes(data[len(data) - _TRAILER.size - size : len(data) - _TRAILER.size])


def _pack_list(listed: BlockList) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(msgpack.packb(listed.to_parts()))


def _unpack_list(data: bytes) -> BlockList:
    return BlockList.from_parts(msgpack.unpackb(decompress(data, GREATEST_LIST)))


def _write(file: int, data: bytes | memoryview) -> int:
    view = memoryview(data)
    written = 0
    while written < len(view):
        written += os.write(file, view[written:])
    return written

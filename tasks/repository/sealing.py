"""Objects sealed with the metadata key: index, snapshots, proofs, condemned lists. FORMAT.md, *Sealed objects*."""

from __future__ import annotations

import os
from typing import IO

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tasks.errors import Damaged, NewerFormat
from tasks.repository.zstd import decompress

_MAGIC, _SALT = b"GBO1", 32
_NONCE = bytes(12)
_GREATEST = 1 << 30
"""Bytes of a payload that is held in memory as a whole. The largest are snapshots and lists of packs, which have 40
bytes a pack: those of nearly a petabyte."""


def seal(metadata_key: bytes, name: str, payload: bytes) -> bytes:
    """`payload`, bound to the object's name."""
    salt = os.urandom(_SALT)
    packed = zstandard.ZstdCompressor(level=9 if len(payload) < 1 << 20 else 3).compress(payload)
    return _MAGIC + salt + _cipher(metadata_key, salt).encrypt(_NONCE, packed, name.encode())


def unseal(metadata_key: bytes, name: str, data: bytes) -> bytes:
    """Raises `Damaged` naming the object, `NewerFormat`."""
    packed = _opened(metadata_key, name, data)
    try:
        return decompress(packed, _GREATEST)
    except ValueError:
        raise _changed(name) from None


def unseal_stream(metadata_key: bytes, name: str, data: bytes) -> IO[bytes]:
    """The same as a stream, for a payload that is large. The bytes are checked before; reading what was not packed as
    it should be raises `ZstdError`."""
    return zstandard.ZstdDecompressor().stream_reader(_opened(metadata_key, name, data))


def _opened(metadata_key: bytes, name: str, data: bytes) -> bytes:
    if data[:3] == _MAGIC[:3] and data[3:4] > _MAGIC[3:]:
        raise NewerFormat(f"`{name}` was written by a newer version: upgrade first")
    salt = data[4 : 4 + _SALT]
    if data[:4] != _MAGIC or len(salt) < _SALT:
        raise Damaged(f"`{name}` is not what was stored: it is cut short or overwritten")
    try:
        return _cipher(metadata_key, salt).decrypt(_NONCE, memoryview(data)[4 + _SALT :], name.encode())
    except InvalidTag:
        raise _changed(name) from None


def _changed(name: str) -> Damaged:
    return Damaged(f"`{name}` is not what was stored: bytes changed, or it is another object")


def _cipher(metadata_key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(blake3(salt, key=metadata_key).digest())

"""The RDB form: its numbers, lengths, strings and checksum, as rdb.h and rdb.c of Redis 7.0 and Valkey 9 have it.

A stream is a magic of nine bytes, opcodes and keys, the opcode EOF and a CRC-64 of all before it. The value of a key is
the same bytes that DUMP answers, but for the type before and ten bytes behind: a version and a CRC-64 of their own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from tasks.errors import Damaged

FUNCTION_OLD, FUNCTION, MODULE_AUX, IDLE, FREQUENCY, AUX, RESIZE, EXPIRY, EXPIRY_SECONDS, SELECT, EOF = (
    *(246, 245, 247, 248, 249, 250, 251),
    *(252, 253, 254, 255),
)
SLOT = 244
"""Redis 7.4 and later, of a cluster: how many keys a slot has."""

STRING, LIST, SET, SORTED_SET_TEXT, HASH, SORTED_SET = 0, 1, 2, 3, 4, 5
MODULE = 7
QUICKLIST, STREAM, QUICKLIST_2, STREAM_2, STREAM_3 = 14, 15, 18, 19, 21
HASH_TTL_VALKEY = 22
HASH_TTL, HASH_LISTPACK_TTL = 24, 25

KINDS = {
    STRING: "string",
    **dict.fromkeys((LIST, 10, QUICKLIST, QUICKLIST_2), "list"),
    **dict.fromkeys((SET, 11, 20), "set"),
    **dict.fromkeys((SORTED_SET_TEXT, SORTED_SET, 12, 17), "sorted set"),
    **dict.fromkeys((HASH, 9, 13, 16, HASH_TTL_VALKEY, HASH_TTL, HASH_LISTPACK_TTL), "hash"),
    **dict.fromkeys((STREAM, STREAM_2, STREAM_3), "stream"),
    MODULE: "module",
}
BLOBS = frozenset({STRING, 9, 10, 11, 12, 13, 16, 17, 20})
"""Types whose value is one string."""

_LEAST = {QUICKLIST: 7, STREAM: 9, 16: 10, 17: 10, QUICKLIST_2: 10, STREAM_2: 10, 20: 11, STREAM_3: 11}
FOOTER = 10
TRAILER = 8
MAGIC = 9
VALKEY = 80
"""Valkey's own versions begin here; its magic differs too."""


class NotWalked(Exception):
    """Something in the stream that this program does not know; the text says what."""


def magic(version: int) -> bytes:
    return b"VALKEY%03d" % version if version >= VALKEY else b"REDIS%04d" % version


def version_of(start: bytes) -> int:
    """Of a stream that begins so. Raises `Damaged`."""
    for name in (b"REDIS", b"VALKEY"):
        number = start[len(name) : MAGIC]
        if start.startswith(name) and number.isdigit() and len(start) >= MAGIC:
            return int(number)
    raise Damaged("these bytes are no RDB of Redis or Valkey: they begin with something else")


def least_version(kind: int, version: int) -> int:
    """The oldest version that has this type: a server refuses what claims to be newer than itself."""
    if kind == HASH_TTL_VALKEY and version >= VALKEY:
        return VALKEY
    return min(version, _LEAST.get(kind, 12 if kind > STREAM_3 else 6))


@cache
def _model() -> Callable[[bytes | bytearray | memoryview, int | None], int]:
    from anycrc import Model  # type: ignore[import-untyped]

    calculate: Callable[[bytes | bytearray | memoryview, int | None], int] = Model("CRC64-REDIS").calc
    return calculate


def crc64(data: bytes | bytearray | memoryview, before: int = 0) -> int:
    """Redis' checksum, going on from what came `before`."""
    return _model()(data, before)


class Ending:
    """Fed with all of an RDB, in pieces: whether it ends as one must."""

    def __init__(self) -> None:
        self._checksum = 0
        self._end = b""

    def add(self, piece: memoryview) -> None:
        self._checksum = crc64(piece, self._checksum)
        self._end = (self._end + bytes(piece[-TRAILER - 1 :]))[-TRAILER - 1 :]

    @property
    def is_there(self) -> bool:
        return self._end[:1] == bytes((EOF,))

    @property
    def is_right(self) -> bool:
        """Bytes that end with their own checksum have the checksum zero; a server that keeps none writes zeros."""
        return self._checksum == 0 or self._end[1:] == bytes(TRAILER)


def payload(kind: int, value: bytes | bytearray | memoryview, version: int) -> bytes:
    """What RESTORE takes: the answer of DUMP, of the oldest version that has the type."""
    content = b"".join((bytes((kind,)), value, least_version(kind, version).to_bytes(2, "little")))
    return content + crc64(content).to_bytes(TRAILER, "little")


def length(value: int) -> bytes:
    if value < 1 << 6:
        return bytes((value,))
    if value < 1 << 14:
        return (1 << 14 | value).to_bytes(2, "big")
    if value < 1 << 32:
        return b"\x80" + value.to_bytes(4, "big")
    return b"\x81" + value.to_bytes(8, "big")


def string(value: bytes) -> bytes:
    return length(len(value)) + value


def double(text: bytes) -> bytes:
    """A score as SORTED_SET has it. Redis prints seventeen digits, so nothing is lost."""
    return struct.pack("<d", float(text))


def score(data: bytes) -> bytes:
    """A score as ZADD takes it: exact, and with the names of infinities that it knows."""
    return repr(struct.unpack("<d", data)[0]).encode()


class Text(NamedTuple):
    """A string that was decoded, and where it ended."""

    value: bytes
    end: int


def text(data: bytes, at: int = 0) -> Text:
    """The string that is encoded at `at`. Raises `Damaged`."""
    first = data[at]
    if first < 0xC0:
        size, at = number(data, at)
        return Text(data[at : at + size], at + size)
    if first < 0xC3:
        width = 1 << (first & 3)
        value = int.from_bytes(data[at + 1 : at + 1 + width], "little", signed=True)
        return Text(b"%d" % value, at + 1 + width)
    if first != 0xC3:
        raise Damaged(f"an RDB holds a string of the unknown form {first:#x}")
    packed, at = number(data, at + 1)
    size, at = number(data, at)
    return Text(_unpacked(data[at : at + packed], size), at + packed)


def string_end(data: bytes, at: int) -> int:
    """Where the string that is encoded at `at` ends, maybe behind the data. Raises `IndexError` if its head does."""
    first = data[at]
    if first < 0x40:
        return at + 1 + first
    if first < 0x80:
        return at + 2 + ((first & 0x3F) << 8 | data[at + 1])
    if first < 0xC0:
        if first > 0x81:
            raise Damaged(f"an RDB holds a length of the unknown form {first:#x}")
        width = 8 if first & 1 else 4
        if at + 1 + width > len(data):
            raise IndexError
        return at + 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "big")
    if first < 0xC3:
        return at + 1 + (1 << (first & 3))
    if first != 0xC3:
        raise Damaged(f"an RDB holds a string of the unknown form {first:#x}")
    packed = data[at + 1]
    if packed < 0x40:
        at += 2
    elif packed < 0x80:
        packed = (packed & 0x3F) << 8 | data[at + 2]
        at += 3
    else:
        packed, at = whole_number(data, at + 1)
    size = data[at]
    return packed + at + (1 if size < 0x40 else 2 if size < 0x80 else 9 if size == 0x81 else 5)


def whole_number(data: bytes, at: int) -> tuple[int, int]:
    """As `number`; raises `IndexError` where it is not all there."""
    value, stop = number(data, at)
    if stop > len(data):
        raise IndexError
    return value, stop


def number(data: bytes, at: int = 0) -> tuple[int, int]:
    """The length that is encoded at `at`, which must be all there, and where it ends."""
    first = data[at]
    if first < 0x40:
        return first, at + 1
    if first < 0x80:
        return (first & 0x3F) << 8 | data[at + 1], at + 2
    width = 8 if first == 0x81 else 4
    return int.from_bytes(data[at + 1 : at + 1 + width], "big"), at + 1 + width


def _unpacked(data: bytes, size: int) -> bytes:
    """LZF by Marc Lehmann, as Redis packs strings: literal runs, and copies of what came before."""
    try:
        made = _lzf(data)
    except IndexError:
        made = b""
    if len(made) != size:
        raise Damaged("an RDB holds a packed string that makes no sense")
    return made


def _lzf(data: bytes) -> bytes:
    """Raises `IndexError` for what makes no sense."""
    made = bytearray()
    at, end = 0, len(data)
    while at < end:
        control = data[at]
        at += 1
        if control < 32:
            made += data[at : at + control + 1]
            at += control + 1
            continue
        count = control >> 5
        if count == 7:
            count += data[at]
            at += 1
        back = (control & 31) << 8 | data[at]
        at += 1
        count += 2
        start = len(made) - back - 1
        if start < 0:
            raise IndexError
        if back + 1 >= count:
            made += made[start : start + count]
        else:
            run = bytes(made[start:])
            made += (run * (count // len(run) + 1))[:count]
    return bytes(made)

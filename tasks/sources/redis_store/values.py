"""Where the value of a key ends, if it lies whole in the data at hand: passed over, not decoded."""

from __future__ import annotations

from tasks.sources.redis_store import rdb

ELEMENTS = {rdb.LIST: 1, rdb.SET: 1, rdb.HASH: 2, rdb.QUICKLIST: 1}
"""Strings that make an element, for types that are a count and that many elements."""
COUNTED = frozenset(ELEMENTS) | {rdb.SORTED_SET, rdb.HASH_TTL_VALKEY}
"""Types whose encoded value begins with the number of elements, which is told apart where the value is in pieces."""


def value_end(data: bytes, at: int, kind: int, version: int) -> int:
    """Where the value ends, maybe behind the data. Raises `IndexError` where it can't be told yet."""
    if kind in ELEMENTS:
        count, at = rdb.whole_number(data, at)
        count *= ELEMENTS[kind]
        while count:
            size = data[at]
            at = at + 1 + size if size < 0x40 else rdb.string_end(data, at)
            count -= 1
        return at
    if kind == rdb.SORTED_SET or (kind == rdb.HASH_TTL_VALKEY and version >= rdb.VALKEY):
        strings = 1 if kind == rdb.SORTED_SET else 2
        count, at = rdb.whole_number(data, at)
        for _ in range(count):
            for _ in range(strings):
                at = rdb.string_end(data, at)
            at += 8
        return at
    if kind == rdb.QUICKLIST_2:
        count, at = rdb.whole_number(data, at)
        for _ in range(count):
            at = rdb.string_end(data, rdb.whole_number(data, at)[1])
        return at
    if kind in (rdb.STREAM, rdb.STREAM_2, rdb.STREAM_3):
        return _stream(data, at, kind)
    if kind == rdb.MODULE:
        return module_end(data, at)
    if kind == rdb.SORTED_SET_TEXT:
        count, at = rdb.whole_number(data, at)
        for _ in range(count):
            at = rdb.string_end(data, at)
            at += 1 + (data[at] if data[at] < 253 else 0)
        return at
    if kind == rdb.HASH_LISTPACK_TTL:
        return rdb.string_end(data, at + 8)
    if kind == rdb.HASH_TTL:
        count, at = rdb.whole_number(data, at + 8)
        for _ in range(count):
            at = rdb.string_end(data, rdb.string_end(data, rdb.whole_number(data, at)[1]))
        return at
    raise rdb.NotWalked(f"the type {kind}")


def _stream(data: bytes, at: int, kind: int) -> int:
    count, at = rdb.whole_number(data, at)
    for _ in range(2 * count):
        at = rdb.string_end(data, at)
    for _ in range(3 if kind == rdb.STREAM else 8):
        _, at = rdb.whole_number(data, at)
    groups, at = rdb.whole_number(data, at)
    for _ in range(groups):
        at = rdb.string_end(data, at)
        for _ in range(2 if kind == rdb.STREAM else 3):
            _, at = rdb.whole_number(data, at)
        count, at = rdb.whole_number(data, at)
        for _ in range(count):
            _, at = rdb.whole_number(data, at + 24)
        count, at = rdb.whole_number(data, at)
        for _ in range(count):
            at = rdb.string_end(data, at) + (16 if kind == rdb.STREAM_3 else 8)
            pending, at = rdb.whole_number(data, at)
            at += 16 * pending
    return at


def module_end(data: bytes, at: int) -> int:
    _, at = rdb.whole_number(data, at)
    while True:
        opcode, at = rdb.whole_number(data, at)
        if opcode == 0:
            return at
        if opcode in (1, 2):
            _, at = rdb.whole_number(data, at)
        elif opcode in (3, 4):
            at += 4 * (opcode - 2)
        elif opcode == 5:
            at = rdb.string_end(data, at)
        else:
            raise rdb.NotWalked(f"a module's value of the form {opcode}")

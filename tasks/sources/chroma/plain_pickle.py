"""Chroma's `index_metadata.pickle` as its versions from 1.0 on write it, gone through without holding it.

A dict by texts in batches (MARK, pairs, SETITEMS), whose values are numbers, None, or such dicts of numbers and texts:
no step of it refers to another. The opcodes are those of Python's `pickletools`.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

_DICT, _MARK, _SETITEMS, _STOP = b"}(u."
BEGINNING = b"\x80\x03}"
"""Protocol 3, and a dict."""
END = b"u."
"""Of the last pairs, and of all."""
_TEXT, _INT, _LONG, _NONE = ord("X"), ord("J"), 0x8A, ord("N")
_UNSIGNED = {ord("K"): 1, ord("M"): 2}
_PART = 8 << 20
"""Of the file: after so much, what was read of it counts no more as memory of this process."""


class Otherwise(Exception):
    """It is not of this form."""


def pairs(data: mmap.mmap, wanted: str, values: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Those of the table called `wanted`. In the end `values` has what else there is, by its name: of the tables None.
    Raises `Otherwise`; `IndexError` or `ValueError` where it is cut short or damaged."""
    if data[:3] != BEGINNING:
        raise Otherwise
    at = 3
    while data[at] == _MARK:
        at += 1
        while data[at] != _SETITEMS:
            name, at = _scalar(data, at)
            if not isinstance(name, str) or name in values:
                raise Otherwise
            if data[at] != _DICT:
                values[name], at = _scalar(data, at)
                continue
            values[name] = None
            at += 1
            freed = at
            while data[at] == _MARK:
                at += 1
                while data[at] != _SETITEMS:
                    key, at = _scalar(data, at)
                    value, at = _scalar(data, at)
                    if name != wanted:
                        continue
                    if not isinstance(key, str) or not isinstance(value, int):
                        raise Otherwise
                    yield key, value
                at += 1
                if at - freed > _PART:
                    data.madvise(mmap.MADV_DONTNEED)
                    freed = at
        at += 1
    if data[at] != _STOP:
        raise Otherwise


def _scalar(data: mmap.mmap, at: int) -> tuple[Any, int]:
    """A value, and where the next one begins."""
    code, at = data[at], at + 1
    if code == _TEXT:
        start = at + 4
        end = start + int.from_bytes(data[at:start], "little")
        return data[start:end].decode(), end
    if code == _INT:
        return int.from_bytes(data[at : at + 4], "little", signed=True), at + 4
    if code in _UNSIGNED:
        return int.from_bytes(data[at : at + _UNSIGNED[code]], "little"), at + _UNSIGNED[code]
    if code == _LONG:
        end = at + 1 + data[at]
        return int.from_bytes(data[at + 1 : end], "little", signed=True), end
    if code == _NONE:
        return None, at
    raise Otherwise

"""Patterns of keys, as SCAN MATCH has them: `*`, `?`, `[a-z]`, `[^a]` and a backslash before what is meant as it is."""

from __future__ import annotations

import re


def matcher(pattern: str) -> re.Pattern[bytes]:
    """Use its `fullmatch`. A `[` that is not closed reaches to the pattern's end, as the server has it."""
    data, made, at = pattern.encode("utf-8", "surrogateescape"), bytearray(), 0
    while at < len(data):
        byte = data[at : at + 1]
        at += 1
        if byte == b"*":
            made += b".*"
        elif byte == b"?":
            made += b"."
        elif byte == b"\\" and at < len(data):
            made += re.escape(data[at : at + 1])
            at += 1
        elif byte == b"[":
            chosen, at = _class(data, at)
            made += chosen
        else:
            made += re.escape(byte)
    return re.compile(bytes(made), re.DOTALL)


def _class(data: bytes, at: int) -> tuple[bytes, int]:
    negated = data[at : at + 1] == b"^"
    at += negated
    inside = bytearray()
    while at < len(data) and data[at : at + 1] != b"]":
        if data[at : at + 1] == b"\\" and at + 1 < len(data):
            inside += re.escape(data[at + 1 : at + 2])
            at += 2
        elif data[at + 1 : at + 2] == b"-" and at + 2 < len(data):
            low, high = sorted((data[at : at + 1], data[at + 2 : at + 3]))
            inside += re.escape(low) + b"-" + re.escape(high)
            at += 3
        else:
            inside += re.escape(data[at : at + 1])
            at += 1
    if not inside:
        return (b"." if negated else b"(?!)"), at + 1
    return b"[%b%b]" % (b"^" if negated else b"", bytes(inside)), at + 1

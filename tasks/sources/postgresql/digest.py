"""A digest of rows in any order, for tables whose order differs from server to server."""

from __future__ import annotations

from blake3 import blake3

_SIZE = 16
_MASK = (1 << (8 * _SIZE)) - 1


class RowSum:
    """The sum of the 128-bit BLAKE3 of each line. Takes lines in pieces of any size."""

    def __init__(self) -> None:
        self._line = blake3()
        self._sum = 0

    def add(self, piece: bytes) -> None:
        first, end, rest = piece.partition(b"\n")
        self._line.update(first)
        if not end:
            return
        *lines, last = rest.split(b"\n")
        self._sum += int.from_bytes(self._line.digest(_SIZE), "little")
        self._sum += sum(int.from_bytes(blake3(line).digest(_SIZE), "little") for line in lines)
        self._line = blake3(last)

    def hex(self) -> str:
        return f"{self._sum & _MASK:032x}"


def added(one: str, other: str) -> str:
    """The digest of the rows of both."""
    return f"{(int(one, 16) + int(other, 16)) & _MASK:032x}"

"""A destination that passes everything on, and gives no path: for those of the tests' own to change one thing."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.destinations.destination import Data, Destination, Listed


class Passing:
    def __init__(self, inner: Destination) -> None:
        self._inner = inner

    def put(self, name: str, data: Data) -> None:
        self._inner.put(name, data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._inner.get(name, offset, length)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return self._inner.list(prefix)

    def delete(self, name: str) -> None:
        self._inner.delete(name)

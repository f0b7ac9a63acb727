"""What a restore could not give back although the item is there: owners, attributes, devices."""

from __future__ import annotations

from threading import Lock

from tasks.sources.path_text import path_text

Found = list[tuple[str, int, bytes]]
"""Of each shortcoming how often it was found, and where first."""


class NotRestored:
    """Counts each shortcoming and keeps its first path, so that a million of one are one line. Safe in threads."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, bytes]] = {}
        self._lock = Lock()

    def add(self, what: str, path: bytes, times: int = 1) -> None:
        """`path`: the first of them."""
        with self._lock:
            count, first = self._found.get(what, (0, path))
            self._found[what] = (count + times, first)

    def add_all(self, found: Found) -> None:
        for what, times, first in found:
            self.add(what, first, times)

    def found(self) -> Found:
        return [(what, count, first) for what, (count, first) in self._found.items()]

    def lines(self) -> list[str]:
        """One line a shortcoming, such as ``12 items: its owner was refused; the first is `config/a.toml` ``."""
        return [
            f"{count} item{'s' if count > 1 else ''}: {what}; the first is `{path_text(first)}`"
            for what, (count, first) in self._found.items()
        ]

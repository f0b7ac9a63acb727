"""What a restore could not give back although the item is there: owners, attributes, devices."""

from __future__ import annotations

from threading import Lock

from tasks.sources.path_text import path_text


class NotRestored:
    """Counts each shortcoming and keeps its first path, so that a million of one are one line. Safe in threads."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, bytes]] = {}
        self._lock = Lock()

    def add(self, what: str, path: bytes) -> None:
        with self._lock:
            count, first = self._found.get(what, (0, path))
            self._found[what] = (count + 1, first)

    def lines(self) -> list[str]:
        """One line a shortcoming, such as `12 items: the owner is kept only by root; the first is config/a.toml`."""
        return [
            f"{count} item{'s' if count > 1 else ''}: {what}; the first is `{path_text(first)}`"
            for what, (count, first) in self._found.items()
        ]

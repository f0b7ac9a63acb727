"""Copies of index objects on this host: what never changes is not fetched again. Losing them loses nothing, and so
does a disk that refuses them."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from tasks.repository import cache_file

_NAME = re.compile(r"[0-9a-f]{32}")


class IndexCopies:
    """In the folder `within`; without one there are none. Safe in threads and between processes."""

    def __init__(self, within: Path | None) -> None:
        self._within = within

    def read(self, name: str) -> bytes | None:
        """Perhaps damaged: whoever opens it finds out."""
        with suppress(OSError):
            return (self._within / name).read_bytes() if self._within else None
        return None

    def keep(self, name: str, data: bytes) -> None:
        if self._within:
            cache_file.keep(self._within / name, data)

    def drop(self, name: str) -> None:
        with suppress(OSError):  # whoever reads it finds out again
            if self._within:
                (self._within / name).unlink()

    def keep_only(self, names: Collection[str]) -> None:
        """Those of index objects that a prune has put into others go: or there would be more of them every year."""
        with suppress(OSError):  # then they go another time
            for path in list((self._within / "index").iterdir()) if self._within else ():
                if _NAME.fullmatch(path.name) and f"index/{path.name}" not in names:
                    path.unlink(missing_ok=True)

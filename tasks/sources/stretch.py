"""A stretch of a source's paths: what one of several captures takes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tasks.item import order


@dataclass(frozen=True, slots=True)
class Stretch:
    """The paths from `start` on, and before `end`; empty for none such. `links`: what in it has the same content as a
    path before `start`, and that path."""

    start: bytes = b""
    end: bytes = b""
    links: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def is_all(self) -> bool:
        return not self.start and not self.end

    def reaches(self, path: bytes) -> bool:
        """Whether it holds the path, or something below it. So it does of each folder above its start."""
        at, start = order(path), order(self.start)
        if self.end and at >= order(self.end):
            return False
        return at >= start or start.startswith(at + b"\0")

    def chosen(self, folder: bytes, names: Iterable[bytes]) -> Iterable[bytes]:
        """Those of a folder's names that it reaches."""
        above = folder + b"/"
        if not any(edge.startswith(above) for edge in (self.start, self.end)):
            return names
        return (name for name in names if self.reaches(above + name))

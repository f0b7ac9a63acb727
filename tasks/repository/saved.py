"""What a pass over a source stored: between the pass, the parts of several, and the snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tasks.item import Entry, Flaw, Stored


@dataclass(slots=True)
class Saved:
    """What a pass stored: the item list, what went wrong with single items, and figures and format as in `Snapshot`."""

    level: int = 0
    content: bytes = b""
    flaws: list[Flaw] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    format: int = 1


class InPieces(NamedTuple):
    """An item whose content is that of several, one after the other."""

    entry: Entry
    pieces: tuple[Stored, ...]

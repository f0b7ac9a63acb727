"""Keys as people can read them."""

from __future__ import annotations

from tasks.sources.path_text import path_text

_LONGEST = 200


def shown(name: bytes) -> str:
    """On one line, however long and binary it is."""
    return path_text(name[:_LONGEST]) + ("..." if len(name) > _LONGEST else "")

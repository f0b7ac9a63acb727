"""Keys as people can read them."""

from __future__ import annotations

_LONGEST = 200


def shown(name: bytes) -> str:
    """On one line, however long and binary it is."""
    text = name[:_LONGEST].decode("utf-8", "backslashreplace")
    text = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return text + ("..." if len(name) > _LONGEST else "")

"""What came from elsewhere, as a terminal may show it."""

from __future__ import annotations


def shown(words: str) -> str:
    """What controls a terminal is escaped, but for line ends: whoever wrote a snapshot, or what a message quotes, has
    no say in what the terminal does."""
    if words.isprintable():
        return words
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in words)

"""Paths of any bytes as text that is safe to print and to put in JSON."""

from __future__ import annotations


def path_text(path: bytes) -> str:
    r"""The path as a person reads it: what is not UTF-8 as `\xff`, what controls a terminal as `\x1b` or `\u202e`."""
    text = path.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)

"""Stored items made by hand, and restored."""

from __future__ import annotations

from pathlib import Path

from tasks.item import FILE, FOLDER, HARDLINK, SYMLINK, Entry, Stored
from tasks.sources.file_restore import restore_files
from tasks.sources.source import Restoring
from tests.contracts.memory_items import MemoryItems


def file(path: bytes, content: bytes = b"planted", mode: int = 0o644) -> Stored:
    return Stored(Entry(path, FILE, mode, size=len(content)), content=content)


def folder(path: bytes, mode: int = 0o755) -> Stored:
    return Stored(Entry(path, FOLDER, mode))


def link(path: bytes, target: bytes) -> Stored:
    return Stored(Entry(path, SYMLINK, link=target))


def hard(path: bytes, partner: bytes, size: int = 7) -> Stored:
    return Stored(Entry(path, HARDLINK, link=partner, size=size))


def restore(into: Path, *items: Stored, overwrite: bool = False) -> list[str]:
    return restore_files(MemoryItems(items), items, into, Restoring(overwrite=overwrite))

"""Models: large files, each with its digest in the facts, and one content under several names noted once."""

from __future__ import annotations

from typing import ClassVar

from tasks.item import FILE, HARDLINK, Entry, Facts
from tasks.settings import SourceSettings
from tasks.sources.file_facts import FileFacts
from tasks.sources.filetree import FileTree, FileTreeSettings
from tasks.sources.path_text import path_text

_MOST = 10_000


class ModelsSettings(FileTreeSettings):
    """Model files: weights, tokenizers and what lies beside them."""


class ModelFacts(FileFacts):
    """Adds `models`, the digest of each file (of a sparse one: of its data), and `shared`, the first name of each
    further name of the same content, be it a hard link or a copy. Both end after 10,000."""

    def __init__(self) -> None:
        super().__init__()
        self._models: dict[str, str] = {}
        self._shared: dict[str, str] = {}
        self._first: dict[bytes, str] = {}

    def add(self, entry: Entry) -> None:
        super().add(entry)
        if entry.type == FILE and entry.size and entry.digest:
            first = self._first.get(entry.digest)
            if first is None and len(self._models) < _MOST:
                first = path_text(entry.path)
                self._first[entry.digest] = first
                self._models[first] = entry.digest.hex()
            elif first is not None:
                self._share(entry, first)
        elif entry.type == HARDLINK:
            self._share(entry, path_text(entry.link))

    def _share(self, entry: Entry, first: str) -> None:
        if len(self._shared) < _MOST:
            self._shared[path_text(entry.path)] = first

    def facts(self) -> Facts:
        return super().facts() | {"models": self._models, "shared": self._shared}


class Models(FileTree):
    kind: ClassVar[str] = "models"
    Settings: ClassVar[type[SourceSettings]] = ModelsSettings

    def counting(self) -> FileFacts:
        return ModelFacts()

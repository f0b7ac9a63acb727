"""Documents: whatever lies in the folders."""

from __future__ import annotations

from typing import ClassVar

from tasks.settings import SourceSettings
from tasks.sources.filetree import FileTree, FileTreeSettings


class DocsSettings(FileTreeSettings):
    """Documentation and documents."""


class Docs(FileTree):
    kind: ClassVar[str] = "docs"
    Settings: ClassVar[type[SourceSettings]] = DocsSettings

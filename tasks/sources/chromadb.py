"""ChromaDB: its persist folder at one moment, or everything that a server gives."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from tasks.errors import SourceError
from tasks.item import Facts, Stored, StoredItems
from tasks.settings import SourceSettings, TargetSettings
from tasks.sources.chroma.folder_capture import FolderCapture, folder_facts
from tasks.sources.chroma.folder_check import folder_problems
from tasks.sources.chroma.records import NotWhole
from tasks.sources.chroma.scratch import usual
from tasks.sources.chroma.settings import ChromaSettings, ChromaTarget
from tasks.sources.file_restore import restore_files
from tasks.sources.source import Capture, Problem, Restoring


class Chroma:
    """A `Source`, and `Served`."""

    kind: ClassVar[str] = "chroma"
    Settings: ClassVar[type[SourceSettings]] = ChromaSettings
    Target: ClassVar[type[TargetSettings]] = ChromaTarget

    def __init__(self, name: str, settings: ChromaSettings) -> None:
        self.name = name
        self.settings = settings

    def roots(self) -> dict[str, str]:
        """The folder's name in snapshots, and where it is; of a server there is none."""
        path = self.settings.path
        return {} if path is None else {_label(path): os.path.abspath(path)}

    def check(self) -> list[Problem]:
        settings = self.settings
        scratch = settings.scratch or usual()
        if settings.path is not None:
            return list(folder_problems(settings.path, scratch))
        return []

    def capture(self) -> Capture:
        settings = self.settings
        scratch = settings.scratch or usual()
        if settings.path is not None:
            return FolderCapture(_label(settings.path), settings.path, scratch)
        raise NotImplementedError

    def restore(self, items: StoredItems, chosen: Iterable[Stored], into: Path, how: Restoring) -> list[str]:
        """A folder as it was, for a Chroma of the same or a newer version to open; an export as its files."""
        return restore_files(items, chosen, into, how)

    def examine(self, scratch: Path) -> Facts:
        if self.settings.path is not None:
            try:
                facts, wrong = folder_facts(scratch / _label(self.settings.path))
            except NotWhole as error:
                raise SourceError(f"the restored copy in `{scratch}` can't be read: {error}") from error
            for path, why in wrong.items():
                raise SourceError(f"the restored copy in `{scratch}` is not whole: `{path}`: {why}")
            return facts
        raise NotImplementedError

    def restore_into(self, items: StoredItems, chosen: Iterable[Stored], target: Any, how: Restoring) -> list[str]:
        raise NotImplementedError

    def examine_at(self, target: Any) -> Facts:
        raise NotImplementedError


def _label(path: Path) -> str:
    return os.path.basename(os.path.abspath(path)) or "chroma"

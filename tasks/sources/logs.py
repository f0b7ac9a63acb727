"""Logs: files that grow and rotate. What was captured under another name before costs nothing new."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from tasks.settings import SourceSettings
from tasks.sources.filetree import FileTree, FileTreeSettings
from tasks.sources.manner import Manner

CUT = "c64"
"""All logs are cut alike, whatever their size, so that a file that grew or was renamed is cut where it was before."""


class LogsSettings(FileTreeSettings):
    """Log files, rotated or not. One that grows while it is read is taken as far as it went when it was opened."""


class Logs(FileTree):
    kind: ClassVar[str] = "logs"
    Settings: ClassVar[type[SourceSettings]] = LogsSettings

    def manner(self) -> Manner:
        return replace(super().manner(), rotating=True, cut=CUT)

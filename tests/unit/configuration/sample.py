"""A backup.toml with kinds made up for tests, so that what is said of it depends on no real kind."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from tasks.configuration import parse
from tasks.errors import SettingsError
from tasks.secret import SecretReference
from tasks.settings import DestinationSettings, Settings, SourceSettings

HIDDEN = "hunter2-correct-horse"
NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Files(SourceSettings):
    kind: Literal["files"]
    exclude: tuple[str, ...] = ()
    paths: tuple[Path, ...] = Field(min_length=1)
    """Folders and files to back up. More text."""
    follow: bool = False
    depth: int = Field(default=3, le=9)
    mode: Literal["all", "some"] = "all"
    where: Path | tuple[Path, ...] = ()


class Database(SourceSettings):
    kind: Literal["database"]
    password: SecretReference


class Folder(DestinationSettings):
    kind: Literal["folder"]
    path: Path


def read(text: str, path: Path = Path("/srv/geometra/backup.toml")) -> Settings:
    return parse(text, path, sources={"files": Files, "database": Database}, destinations={"folder": Folder})


def faults(text: str) -> list[str]:
    """The faults of a file, without the file's own name."""
    with pytest.raises(SettingsError) as refused:
        read(text, Path("backup.toml"))
    assert "Traceback" not in str(refused.value)
    assert "pydantic" not in str(refused.value).lower()
    lines = str(refused.value).split("\n")
    assert all(line.startswith("backup.toml, ") for line in lines)
    return [line.removeprefix("backup.toml, ") for line in lines]


BASE = """\
[destinations.near]
kind = "folder"
path = "backups"
[sources.models]
kind = "files"
paths = ["models"]
"""

NIGHTLY = '[plans.nightly]\nschedule = "{}"\ntimezone = "{}"\n'

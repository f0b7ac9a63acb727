"""Whether a first capture, or the spool's quota of it, fits into the spool is said before the night."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from unittest import mock

import pytest

from tasks.check import check
from tasks.configuration import parse
from tasks.installation import Installation
from tasks.settings import SourceSettings
from tasks.sources.kinds import SOURCES
from tasks.sources.source import Problem


class Large:
    """A source of 20 GB."""

    kind: ClassVar[str] = "large"
    Settings: ClassVar[type[SourceSettings]] = SourceSettings

    def __init__(self, name: str, settings: Any) -> None: ...

    def check(self) -> list[Problem]:
        return []

    def measure(self) -> int:
        return 20_000_000_000


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(("free", "state"), [(9, "good"), (7, "weak"), (3, "weak"), (2, "bad")])
def test_a_spool_that_is_too_small_for_a_source_is_found(
    free: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[sources.big]\nkind = "large"\n[destinations.here]\nkind = "local"\npath = "there"\n'
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, free * 1_000_000_000))
    with mock.patch.dict(SOURCES, {"large": Large}):
        installation = Installation(parse(text, tmp_path / "backup.toml"))
        (found,) = [finding for finding in check(installation) if finding.what == "source big"]
    assert found.state == state
    if state != "good":
        assert f"it holds 20.0 GB, and only {free}.0 GB are free" in found.says
        assert "`state`" in found.advice

"""What `check` says where a source is to be drilled, and a program for it may be missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.check import Finding, check
from tasks.configuration import parse
from tasks.installation import PASSPHRASE, Installation

CONFIG = """
[sources.cache]
kind = "redis"
url = "unix:///nowhere/redis.sock"
{drill}
[destinations.here]
kind = "local"
path = "there"
"""


def found(folder: Path, drill: str) -> list[Finding]:
    installation = Installation(parse(CONFIG.format(drill=drill), folder / "backup.toml"))
    return [each for each in check(installation) if each.what == "drill cache"]


def test_a_missing_program_is_named_where_a_drill_may_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "some")
    assert found(tmp_path, 'drill = "7d"') == []
    monkeypatch.setattr("tasks.sources.redis_store.scratch_server.servers", lambda: iter(()))
    (finding,) = found(tmp_path, 'drill = "7d"')
    assert finding.state == "weak"
    assert "install `redis-server` or `valkey-server`" in finding.says
    assert "the pool `drill`" in finding.advice
    assert found(tmp_path, "") == []
    monkeypatch.delenv(PASSPHRASE)
    assert found(tmp_path, 'drill = "7d"') == [], "a host without the passphrase drills nothing"

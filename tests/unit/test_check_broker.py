"""What `check` says of a broker that answers, and would not last the night."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.broker import VARIABLE
from tasks.check import Finding, check
from tasks.configuration import parse
from tasks.installation import Installation
from tests.redis_process import RedisProcess, redis_process

CONFIG = '[sources.docs]\nkind = "docs"\npaths = ["docs"]\n[destinations.here]\nkind = "local"\npath = "there"\n'

pytestmark = pytest.mark.needs("redis-server")


@pytest.fixture
def broker() -> Iterator[RedisProcess]:
    with redis_process() as server:
        yield server


def found(broker: RedisProcess, folder: Path, monkeypatch: pytest.MonkeyPatch, *commands: str) -> Finding:
    """After these commands."""
    for command in commands:
        broker.client().execute_command(*command.split())  # type: ignore[no-untyped-call]
    monkeypatch.setenv(VARIABLE, broker.url)
    return list(check(Installation(parse(CONFIG, folder / "backup.toml"))))[-1]


def test_one_that_takes_what_is_written_is_good(
    broker: RedisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(broker, tmp_path, monkeypatch).state == "good"
    assert found(broker, tmp_path, monkeypatch, "CONFIG SET maxmemory-policy allkeys-lru").state == "good"
    assert (
        found(broker, tmp_path, monkeypatch, "ACL SETUSER default -info", "CONFIG SET maxmemory 99mb").state == "good"
    )


@pytest.mark.parametrize("command", ["REPLICAOF 127.0.0.1 1", "CONFIG SET maxmemory 1"])
def test_one_that_refuses_what_is_written_is_bad(
    broker: RedisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    finding = found(broker, tmp_path, monkeypatch, command)
    assert (finding.what, finding.state) == ("broker", "bad")
    assert "the broker refused a command" in finding.says


def test_one_that_throws_away_what_it_holds_is_told_of(
    broker: RedisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = "CONFIG SET maxmemory 99mb", "CONFIG SET maxmemory-policy volatile-lru"
    finding = found(broker, tmp_path, monkeypatch, *commands)
    assert finding.state == "weak"
    assert "`volatile-lru`" in finding.says
    assert "noeviction" in finding.advice

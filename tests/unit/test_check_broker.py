"""What `check` says of a broker that answers, and would not last the night."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from tasks.broker import VARIABLE
from tasks.check import Finding, check
from tasks.configuration import parse
from tasks.errors import Unavailable
from tasks.installation import Installation
from tasks.record import Record
from tasks.run_keys import reaching
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


@pytest.mark.parametrize(("seconds", "says"), [(-601, "10 min 1 s ahead of"), (90_000, "25.0 h behind")])
def test_one_whose_clock_is_another_is_told_of(
    broker: RedisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, seconds: int, says: str
) -> None:
    monkeypatch.setattr(Record, "now", lambda record: datetime.now(UTC) + timedelta(seconds=seconds))
    finding = found(broker, tmp_path, monkeypatch)
    assert (finding.state, finding.says) == ("weak", f"this machine's clock is {says} the broker's")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("REPLICAOF 127.0.0.1 1", "it is a replica"),
        ("CONFIG SET maxmemory 1", "its memory is full"),
        ("ACL SETUSER default -set", "its user may not do that"),
    ],
)
def test_one_that_refuses_what_is_written_is_bad(
    broker: RedisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, command: str, why: str
) -> None:
    finding = found(broker, tmp_path, monkeypatch, command)
    assert (finding.what, finding.state) == ("broker", "bad")
    assert f"the broker refused a command: {why}" in finding.says


def test_one_whose_password_is_another_by_now_answers(
    broker: RedisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = found(broker, tmp_path, monkeypatch, "CONFIG SET requirepass another")
    assert finding.says == "the broker refuses the user or the password of its URL: was it changed there?"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), "its disk is full"),
        (
            redis.ResponseError("Command # 1 (SET a...) of pipeline caused error: MISCONF Errors writing"),
            "its disk is full",
        ),
        (redis.ResponseError("DB index is out of range"), "no database of the number in its URL"),
        (redis.ResponseError("what it was asked for"), "ResponseError; its log says more"),
        (redis.ConnectionError("Error -2 connecting to nowhere:1. Name or service not known."), "service not known"),
        (redis.ConnectionError("Connection closed by server."), "can this host reach it?"),
    ],
)
def test_why_it_refuses_is_told_and_nothing_that_it_quotes(error: redis.RedisError, said: str) -> None:
    with pytest.raises(Unavailable) as raised, reaching():
        raise error
    assert said in str(raised.value)
    assert "asked for" not in str(raised.value)


def test_one_that_throws_away_what_it_holds_is_told_of(
    broker: RedisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = "CONFIG SET maxmemory 99mb", "CONFIG SET maxmemory-policy volatile-lru"
    finding = found(broker, tmp_path, monkeypatch, *commands)
    assert finding.state == "weak"
    assert "`volatile-lru`" in finding.says
    assert "noeviction" in finding.advice

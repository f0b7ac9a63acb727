"""Users with few rights: what is enough, and what is told before the night."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tasks.errors import Refused
from tests.contracts.memory_items import Saved
from tests.redis_process import RedisProcess
from tests.redis_sample import fill
from tests.unit.sources.test_redis_restore import of, start

pytestmark = pytest.mark.needs("redis-server")


@pytest.fixture(scope="module")
def filled() -> Iterator[RedisProcess]:
    with start() as server:
        with server.client(text=False) as client:
            fill(client, 20)
        yield server


def test_rights_that_are_missing_are_told_before_the_night(filled: RedisProcess, monkeypatch: Any) -> None:
    client: Any
    monkeypatch.setenv("TESTED_PASSWORD", "secret-of-the-test")
    with filled.client() as client:
        client.execute_command("ACL", "SETUSER", "weak", "on", ">secret-of-the-test", "~*", "+@all", "-sync", "-acl")
        client.execute_command("ACL", "SETUSER", "blind", "on", ">secret-of-the-test", "~*", "+ping", "+info", "+acl")
    weak = {"username": "weak", "password": "env:TESTED_PASSWORD"}
    blind = weak | {"username": "blind"}
    try:
        assert not any(problem.fatal for problem in of(filled, **weak).check())
        assert Saved(of(filled, **weak).capture()).facts["method"] == "scan"
        with pytest.raises(Refused, match=r"\+sync"):
            Saved(of(filled, method="snapshot", **weak).capture())
        assert any(problem.fatal and "DUMP" in problem.what for problem in of(filled, **blind).check())
        with pytest.raises(Refused):
            Saved(of(filled, **blind).capture())
    finally:
        with filled.client() as client:
            client.execute_command("ACL", "DELUSER", "weak", "blind")


@pytest.mark.parametrize("method", ["snapshot", "scan"])
def test_the_rights_that_the_options_name_are_enough(
    method: str, filled: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    rights = {
        "snapshot": "+sync +replconf +info",
        "scan": "+scan +dump +pttl +pexpiretime +memory|usage +type +multi +exec +watch +time +select"
        " +function|dump +@read",
    }
    monkeypatch.setenv("TESTED_PASSWORD", "secret-of-the-test")
    with filled.client() as client:
        client.execute_command("ACL", "SETUSER", method, "on", ">secret-of-the-test", "~*", *rights[method].split())
    try:
        named = of(filled, method=method, username=method, password="env:TESTED_PASSWORD")
        assert not any(problem.fatal for problem in named.check())
        captured = Saved(named.capture())
        assert captured.flaws == []
        assert captured.facts["lasting"].keys() == {"0", "3", "9"}
        if method == "scan":
            with filled.client() as client:
                client.execute_command("ACL", "SETUSER", method, "-function|dump")
            [hidden] = [problem for problem in named.check() if problem.fatal]
            assert "functions" in hidden.what
    finally:
        with filled.client() as client:
            client.execute_command("ACL", "DELUSER", method)


_OF_A_SCAN = "SCAN, DUMP, PTTL, MEMORY, TYPE, SELECT, TIME, EXEC"


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        ("auto +get", "+sync"),
        ("scan +get", _OF_A_SCAN),
        ("scan +@read +memory|usage +select +time +exec", "scan: MULTI"),
    ],
)
def test_a_user_who_may_not_even_ask_what_it_may_is_not_taken_for_one_that_may(
    rights: str, missing: str, filled: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTED_PASSWORD", "secret-of-the-test")
    method, *allowed = rights.split()
    with filled.client() as client:
        client.execute_command("ACL", "SETUSER", "mute", "on", ">secret-of-the-test", "~*", *allowed)
    try:
        named = of(filled, method=method, username="mute", password="env:TESTED_PASSWORD", users=False)
        assert any(missing in problem.what for problem in named.check())
        with pytest.raises(Refused):
            Saved(named.capture())
        with filled.client() as client:
            more = ("+multi", "+acl|whoami", "+acl|dryrun", "+sync")
            client.execute_command("ACL", "SETUSER", "mute", *more)
        assert any(missing in problem.what for problem in named.check()) is (missing == _OF_A_SCAN)
    finally:
        with filled.client() as client:
            client.execute_command("ACL", "DELUSER", "mute")

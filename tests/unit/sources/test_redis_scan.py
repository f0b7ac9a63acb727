"""A scan of a server that is written to: what it may miss, and what it never does."""

from __future__ import annotations

import os
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tasks.errors import Unavailable
from tasks.sources.redis_store import parts
from tasks.sources.redis_store.connection import Argument, Connection
from tasks.sources.source import Restoring
from tests.contracts.memory_items import Saved
from tests.contracts.test_served_source_contract import valkey
from tests.redis_process import RedisProcess
from tests.unit.sources.test_redis_restore import held, into, of, start

pytestmark = pytest.mark.needs("redis-server")

_LARGE = 12


@pytest.fixture
def server() -> Iterator[RedisProcess]:
    with start() as process:
        yield process


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], None]:
    """Has somebody else do something after each such command of the scan."""

    def meddle(command: str, do: Callable[[], object]) -> None:
        call = Connection.call

        def called(self: Connection, *given: Argument) -> Any:
            reply = call(self, *given)
            if given[0] == command:
                do()
            return reply

        monkeypatch.setattr(Connection, "call", called)

    return meddle


def restored(saved: Saved) -> dict[tuple[int, bytes], tuple[Any, ...]]:
    with start() as other:
        of(other).restore_into(saved, saved, into(other), Restoring())
        return held(other)


@pytest.mark.parametrize("times", [1, 1000], ids=["once", "all the time"])
def test_a_queue_that_moves_while_it_is_read_lacks_nothing_that_was_in_it(
    times: int, server: RedisProcess, after: Any
) -> None:
    with server.client() as client:
        client.rpush("queue", *range(20_000))
        left = iter(range(20_000, 20_000 + 30 * times))

        def move() -> None:
            for number in [next(left, None) for _ in range(30)]:
                if number is not None:
                    client.rpush("queue", number)
                    client.lpop("queue")

        after("LRANGE", move)
        saved = Saved(of(server, method="scan").capture())
    assert saved.flaws == []
    kind, numbers, *_ = restored(saved)[0, b"queue"]
    assert kind == "list"
    found = [int(number) for number in numbers]
    assert found == list(range(found[0], found[0] + 20_000))


@pytest.mark.parametrize("times", [1, 1000], ids=["once", "all the time"])
def test_a_text_that_is_replaced_while_it_is_read_is_one_or_the_other(
    times: int, server: RedisProcess, after: Any
) -> None:
    with server.client() as client:
        texts = [letter * 1_000_000 for letter in "ab" * 50]
        client.set("text", texts.pop())
        left = iter(range(times))
        after("GETRANGE", lambda: next(left, None) is not None and client.set("text", texts.pop()))
        saved = Saved(of(server, method="scan").capture())
    assert saved.flaws == []
    assert len(set(restored(saved)[0, b"text"][1])) == 1


def test_what_never_keeps_still_and_is_too_large_for_one_command_is_a_flaw(
    server: RedisProcess, after: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_AT_ONCE", 1000)
    with server.client() as client:
        client.rpush("queue", *range(20_000))
        after("LRANGE", lambda: client.rpush("queue", 1))
        saved = Saved(of(server, method="scan").capture())
    [flaw] = saved.flaws
    assert "`queue`: it was written to while it was read in parts" in flaw.why


def test_a_key_that_gets_another_type_while_it_is_read_stops_nothing(server: RedisProcess, after: Any) -> None:
    with server.client() as client:
        client.set("other", "value")
        client.hset("key", mapping={str(number): "x" * 100 for number in range(5000)})

        def change() -> None:
            is_hash = client.type("key") == "hash"
            client.delete("key")
            client.sadd("key", *range(5000)) if is_hash else client.hset("key", mapping={"a": "b"})

        after("HSCAN", change)
        saved = Saved(of(server, method="scan").capture())
    assert saved.flaws == []
    found = restored(saved)
    assert found[0, b"other"][1] == b"value"
    assert found[0, b"key"][0] == "set"


@pytest.fixture
def large_first(server: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """A server that ends connections that are silent for a second, and has large keys among small ones; something is
    done when the first of these was read. There are many, as where a key comes in a scan is up to the server's seed,
    and behind one that comes at the very end nothing is left to be read."""
    with server.client() as client:
        client.config_set("timeout", 1)
        for number in range(_LARGE):
            client.rpush(f"large:{number}", *range(20_000))
        client.mset({f"key:{number}": number for number in range(5000)})
    pieces = parts.Parts.pieces

    def meanwhile(do: Callable[[], object]) -> None:
        left = iter([do])

        def given(self: parts.Parts) -> Iterator[bytes]:
            for first in left:
                first()
            return pieces(self)

        monkeypatch.setattr(parts.Parts, "pieces", given)

    return meanwhile


def test_streams_however_large_take_no_memory(server: RedisProcess) -> None:
    with server.client(text=False) as client:
        for number in range(4):
            for at in range(6):
                client.xadd(f"stream:{number}", {"text": os.urandom(1 << 20)}, id=f"{at + 1}-0")
        client.pexpire("stream:2", 3_600_000)
    capture = of(server, method="scan").capture()
    buffer, size = memoryview(bytearray(1 << 20)), 0
    tracemalloc.start()
    try:
        for item in capture:
            if item.open is not None:
                stream = item.open()
                while count := stream.readinto(buffer):
                    size += count
                stream.close()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 << 20
    saved = Saved(of(server, method="scan").capture())
    assert saved.facts["lasting"] == {"0": {"stream": 3}}
    assert saved.facts["lasting_digest"] == Saved(of(server).capture()).facts["lasting_digest"]
    assert restored(saved) == held(server)


def test_a_scan_outlasts_what_a_server_allows_a_silent_connection(server: RedisProcess, large_first: Any) -> None:
    large_first(lambda: time.sleep(3))
    saved = Saved(of(server, method="scan").capture())
    assert saved.facts["lasting"] == {"0": {"string": 5000, "list": _LARGE}}
    assert restored(saved) == held(server)


def test_a_server_that_was_restarted_meanwhile_is_not_taken_for_the_same(
    server: RedisProcess, large_first: Any
) -> None:
    def restart() -> None:
        time.sleep(1.5)
        server.kill()
        server.start()

    large_first(restart)
    with pytest.raises(Unavailable, match="was restarted while it was read"):
        Saved(of(server, method="scan").capture())


@pytest.mark.parametrize(("right", "why"), [("+hpexpiretime", "too large for one DUMP"), ("", r"\+hpexpiretime")])
def test_fields_of_a_large_hash_that_expire_are_a_flaw_also_where_nobody_may_ask(
    right: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any
    monkeypatch.setenv("TESTED_PASSWORD", "secret-of-the-test")
    commands = "scan dump pttl pexpiretime memory|usage type multi exec watch time select info function|dump hscan hlen"
    rights = [f"+{command}" for command in commands.split()] + right.split()
    with start(program=valkey()) as server:
        with server.client() as client:
            for number in range(10):
                client.hset("large", mapping={f"{number}:{field}": "v" * 100 for field in range(3000)})
            client.execute_command("HPEXPIREAT", "large", 4_000_000_000_000, "FIELDS", 1, "9:7")
            client.execute_command("ACL", "SETUSER", "reader", "on", ">secret-of-the-test", "~*", *rights)
        reader = of(server, method="scan", username="reader", password="env:TESTED_PASSWORD")
        [flaw] = Saved(reader.capture()).flaws
    assert re.search(f"`large`: .*{why}", flaw.why)

"""A whole Redis, captured while it is written to, destroyed, and restored into another: compared key by key."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tasks.errors import Unavailable
from tasks.item import Item
from tasks.sources.redis import Redis, RedisSettings, RedisTarget
from tasks.sources.source import Restoring
from tests.redis_process import RedisProcess, redis_process
from tests.redis_sample import contents, fill
from tests.repositories import about, create, local

TOKENS = 300
_WRITER = """
import random, sys
import redis
client = redis.Redis(unix_socket_path=sys.argv[1], db=5)
dice = random.Random(5)
while True:
    token = dice.randrange(int(sys.argv[2]))
    here, there = f"left:{token}", f"right:{token}"
    if not client.exists(here):
        here, there = there, here
    with client.pipeline(transaction=True) as pipe:
        pipe.delete(here)
        pipe.set(there, "token")
        pipe.execute()
"""


class Written(NamedTuple):
    server: RedisProcess
    writer: subprocess.Popen[bytes]


@pytest.fixture
def server(require: Callable[[str], str]) -> Iterator[RedisProcess]:
    with redis_process("--appendonly", "no", program=Path(require("redis-server"))) as server:
        yield server


@pytest.fixture
def fresh(require: Callable[[str], str]) -> Iterator[RedisProcess]:
    with redis_process("--appendonly", "no", "--enable-debug-command", "yes") as server:
        yield server


@pytest.fixture
def written(server: RedisProcess) -> Iterator[Written]:
    """A server, and who moves tokens there from one key to another, in one transaction each."""
    client: Any
    with server.client(5) as client:
        client.mset({f"left:{token}": "token" for token in range(TOKENS)})
    child = subprocess.Popen([sys.executable, "-c", _WRITER, str(server.socket), str(TOKENS)])
    try:
        time.sleep(0.3)
        yield Written(server, child)
    finally:
        child.kill()
        child.wait()


def source(server: RedisProcess, method: str) -> Redis:
    return Redis(
        "docs", RedisSettings.model_validate({"kind": "redis", "url": f"unix://{server.socket}", "method": method})
    )


@pytest.mark.parametrize("method", ["snapshot", "scan"])
def test_what_was_captured_under_load_comes_back_exactly(
    method: str, written: Written, fresh: RedisProcess, tmp_path: Path
) -> None:
    server = written.server
    with server.client(text=False) as client:
        fill(client, 150)
        functions = client.function_list(withcode=True)
        before = contents(client, but=5)
    assert len(before) > 2000
    repository = create(local(tmp_path / "stored"))
    captured = source(server, method)
    snapshot = repository.save(captured.capture(), about(1), repository.destination)
    assert snapshot.complete
    assert snapshot.facts["method"] == method
    assert written.writer.poll() is None
    server.kill()

    items = repository.read(snapshot)
    target = RedisTarget(url=f"unix://{fresh.socket}")
    assert captured.restore_into(items, items, target, Restoring()) == []
    with fresh.client(text=False) as client:
        assert contents(client, but=5) == before
        assert client.function_list(withcode=True) == functions
    with fresh.client(5, text=False) as client:
        tokens = [name.partition(b":")[2] for name in client.scan_iter(count=1000)]
    if method == "snapshot":
        assert sorted(tokens) == sorted(b"%d" % token for token in range(TOKENS))
    facts = captured.examine_at(target)
    assert {name: snapshot.facts[name] for name in facts} == facts


@pytest.mark.parametrize("method", ["snapshot", "scan"])
def test_a_server_that_is_killed_meanwhile_leaves_no_snapshot(
    method: str, server: RedisProcess, tmp_path: Path
) -> None:
    with server.client() as client:
        pipe = client.pipeline(transaction=False)
        for number in range(400):
            pipe.set(f"key:{number}", str(number) * 50_000)
        pipe.execute()
        client.config_set("rdbcompression", "no")
    repository = create(local(tmp_path / "stored"))
    capture = source(server, method).capture()

    def opened(item: Item) -> Any:
        assert item.open is not None
        return _Killing(item.open(), server)

    def killing() -> Iterator[Item]:
        for item in capture:
            yield item._replace(open=partial(opened, item)) if item.cut else item

    class Killing:
        stored, flaws, facts = capture.stored, capture.flaws, capture.facts

        def __iter__(self) -> Iterator[Item]:
            return killing()

    with pytest.raises(Unavailable) as raised:
        repository.save(Killing(), about(1), repository.destination)
    assert "\n" not in str(raised.value)
    assert repository.snapshot_ids() == []
    server.start()
    with server.client() as client:
        client.set("key", "value")
    assert repository.save(source(server, method).capture(), about(2), repository.destination).complete
    assert len(repository.snapshot_ids()) == 1


class _Killing:
    """A stream whose server dies after the first bytes."""

    def __init__(self, stream: Any, server: RedisProcess) -> None:
        self._stream, self._server, self._read = stream, server, 0

    def readinto(self, buffer: memoryview) -> int:
        if self._read > 200_000:
            self._server.kill()
        count: int = self._stream.readinto(buffer[:100_000])
        self._read += count
        return count

    def close(self) -> Any:
        return self._stream.close()


@pytest.mark.parametrize("method", ["snapshot", "scan"])
def test_no_client_waits_for_long_while_it_is_captured(
    method: str, server: RedisProcess, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """With one hash of 20 MB: DUMP of it would keep all others waiting. `tests.benchmarks.redis` measures 500 MB."""
    client: Any
    with server.client(text=False) as client:
        for start in range(0, 200_000, 5000):
            client.hset("large", mapping={b"field:%d" % at: b"value %d" % at * 8 for at in range(start, start + 5000)})
    worst, stop = [0.0], threading.Event()

    def ask() -> None:
        with server.client() as client:
            while not stop.is_set():
                began = time.monotonic()
                client.get("x")
                worst[0] = max(worst[0], time.monotonic() - began)
                time.sleep(0.001)

    asking = threading.Thread(target=ask)
    asking.start()
    buffer = memoryview(bytearray(1 << 16))
    capture = source(server, method).capture()
    for item in capture:
        assert item.open is not None
        stream = item.open()
        while stream.readinto(buffer):
            pass
        stream.close()
    stop.set()
    asking.join()
    record_property("worst_latency", worst[0])
    assert capture.facts()["lasting"] == {"0": {"hash": 1}}
    assert capture.facts()["keys_in_parts"] == (method == "scan")
    assert worst[0] < 0.5  # a busy machine's own pauses are in it

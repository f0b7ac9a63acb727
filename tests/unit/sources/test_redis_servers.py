"""Servers that hold less than they seem to: one of a cluster, a Sentinel, a replica that has no primary."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tasks.errors import Occupied, Refused, SourceError, Unavailable
from tasks.sources.redis import RedisTarget
from tasks.sources.source import Restoring
from tests.contracts.memory_items import Saved, read_all
from tests.contracts.test_served_source_contract import valkey
from tests.free_port import free_port
from tests.redis_process import RedisProcess
from tests.unit.sources.test_redis_restore import held, into, of, source, start

pytestmark = pytest.mark.needs("redis-server")

KEYS = 300
HALVES = ((0, 8000), (8001, 16383))


@contextmanager
def cluster(*options: str, **how: Any) -> Iterator[list[RedisProcess]]:
    """Two primaries that share `KEYS` keys."""
    with ExitStack() as stack:
        ports = [free_port() for _ in HALVES]
        nodes = [stack.enter_context(start("--cluster-enabled", "yes", *options, port=port, **how)) for port in ports]
        for node, slots in zip(nodes, HALVES, strict=True):
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
        for node in nodes:
            with node.client() as client:
                while "cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                    time.sleep(0.05)
        for number in range(KEYS):
            with nodes[number % 2].client() as client:
                low, high = HALVES[number % 2]
                names = (f"key:{number}:{letter}" for letter in range(1000))
                client.set(next(n for n in names if low <= client.execute_command("CLUSTER", "KEYSLOT", n) <= high), 1)
        yield nodes


def url_of(node: RedisProcess) -> str:
    return f"redis://127.0.0.1:{node.port}"


def test_one_server_of_a_cluster_is_never_taken_for_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """INFO says what is a cluster, and not everybody may ask for it."""
    client: Any
    monkeypatch.setenv("TESTED_PASSWORD", "secret-of-the-test")
    login = {"password": "env:TESTED_PASSWORD"}
    rights = ("on", ">secret-of-the-test", "+ping", "+sync", "+replconf")
    with cluster() as nodes:
        for node in nodes:
            with node.client() as client:
                client.execute_command("ACL", "SETUSER", "asking", *rights, "+cluster|slots")
                client.execute_command("ACL", "SETUSER", "blind", *rights)
        saved = Saved(source(url_of(nodes[1]), username="asking", **login).capture())
        assert saved.facts["lasting"] == {"0": {"string": KEYS}}
        blind = source(url_of(nodes[1]), username="blind", **login)
        with pytest.raises(Refused, match="does not allow CLUSTER"):
            Saved(blind.capture())
        assert any(problem.fatal and "CLUSTER" in problem.what for problem in blind.check())


def test_a_cluster_can_be_scanned() -> None:
    with cluster() as nodes:
        saved = Saved(source(url_of(nodes[1]), method="scan").capture())
        assert saved.facts["method"] == "scan"
        assert saved.flaws == []
        with start() as other:
            of(other).restore_into(saved, saved, into(other), Restoring())
            assert held(other) == held(nodes[0]) | held(nodes[1])


@pytest.mark.parametrize("method", ["snapshot", "scan"])
def test_the_databases_of_a_cluster_of_valkey_come_back_into_one_and_are_refused_by_one_that_has_none(
    method: str,
) -> None:
    with cluster("--cluster-databases", "4", program=valkey()) as nodes:
        for node in nodes:
            with node.client() as client:
                for name in client.keys()[:50]:
                    client.execute_command("COPY", name, name, "DB", "3")
        before = held(nodes[0]) | held(nodes[1])
        saved = Saved(source(url_of(nodes[0]), method=method).capture())
        assert saved.facts["lasting"] == {"0": {"string": KEYS}, "3": {"string": 100}}
        for node in nodes:
            with node.client() as client:
                client.flushall()
        source(url_of(nodes[0])).restore_into(saved, saved, RedisTarget(url=url_of(nodes[1])), Restoring())
        assert held(nodes[0]) | held(nodes[1]) == before
    with cluster() as nodes:
        target = RedisTarget(url=url_of(nodes[0]), database=3)
        with pytest.raises(Refused, match=r"keys in database 3, and the cluster of .* has database 0 only"):
            source(url_of(nodes[0])).restore_into(saved, saved, target, Restoring())


def test_functions_that_each_server_of_a_cluster_has_are_restored_once() -> None:
    library = "#!lua name=sums\nredis.register_function('one', function() return 1 end)"
    with cluster() as nodes:
        for node in nodes:
            with node.client() as client:
                client.execute_command("FUNCTION", "LOAD", library)
        saved = Saved(source(url_of(nodes[0])).capture())
        with start() as other:
            assert of(other).restore_into(saved, saved, into(other), Restoring()) == []
            assert len(held(other)) == KEYS
            with other.client() as client:
                assert client.execute_command("FCALL", "one", 0) == 1
            with pytest.raises(Occupied):
                of(other).restore_into(saved, saved, into(other), Restoring())


@pytest.mark.parametrize("is_finished", [True, False], ids=["moved", "on its way"])
def test_a_slot_that_moves_between_servers_meanwhile_is_a_flaw(is_finished: bool) -> None:
    client: Any
    other: Any
    with cluster() as (first, second), first.client() as client, second.client() as other:
        capture = source(url_of(first)).capture()
        key = other.randomkey()
        slot = other.execute_command("CLUSTER", "KEYSLOT", key)
        here, there = (each.execute_command("CLUSTER", "MYID") for each in (client, other))
        for item in capture:
            if item.open:
                stream = item.open()
                read_all(stream)
                stream.close()
            if item.entry.path == b"shard-00000.rdb":
                client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", there)
                other.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", here)
                other.execute_command("MIGRATE", "127.0.0.1", first.port, key, 0, 5000)
                for each in (client, other) if is_finished else ():
                    each.execute_command("CLUSTER", "SETSLOT", slot, "NODE", here)
        assert capture.facts()["lasting"] == {"0": {"string": KEYS - 1}}
        assert {flaw.path for flaw in capture.flaws()} == {b"shard-00000.rdb", b"shard-08001.rdb"}
        assert Saved(source(url_of(first)).capture()).facts["lasting"] == {"0": {"string": KEYS}}


@pytest.mark.parametrize("method", ["auto", "scan"])
def test_a_sentinel_is_no_server_without_keys(method: str, tmp_path: Any) -> None:
    port = free_port()
    settings = tmp_path / "sentinel.conf"
    settings.write_text(f"port {port}\nsentinel monitor main 127.0.0.1 1 1\n")
    command = ["redis-server", str(settings), "--sentinel"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path) as sentinel:
        try:
            named = source(f"redis://127.0.0.1:{port}", method=method)
            deadline = time.monotonic() + 10
            while "can't be reached" in str(named.check()) and time.monotonic() < deadline:
                time.sleep(0.05)
            with pytest.raises(SourceError, match=r"a Sentinel.*redis\+sentinel://host:port/name"):
                Saved(named.capture())
            [problem] = named.check()
            assert problem.fatal
        finally:
            sentinel.terminate()


@pytest.mark.parametrize("method", ["auto", "scan"])
def test_a_replica_that_has_no_primary_is_not_captured(method: str) -> None:
    with start("--replicaof", "127.0.0.1", "1") as replica:
        assert held(replica) == {}
        with pytest.raises(Unavailable, match=r"NOMASTERLINK|not in touch with its primary"):
            Saved(of(replica, method=method).capture())
        assert any(problem.fatal and "not in touch" in problem.what for problem in of(replica, method=method).check())


def test_a_valkey_that_streams_gives_fields_that_expire() -> None:
    options = ("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
    with start("--appendonly", "no", *options, program=valkey()) as server, server.client() as client:
        client.hset("hash", mapping={"a": "1", "b": "2"})
        client.hexpire("hash", 86_400, "a")
        saved = Saved(of(server).capture())
    assert saved.facts["method"] == "snapshot"
    assert saved.facts["lasting"] == {"0": {"hash": 1}}

"""How a Redis is reached: the primaries of a cluster, TLS, Sentinels and a failover."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.sources.redis import RedisTarget
from tasks.sources.redis_store.place import place_of
from tasks.sources.redis_store.servers import resolved
from tasks.sources.source import Restoring
from tests.contracts.memory_items import Saved
from tests.free_port import free_port
from tests.redis_process import RedisProcess
from tests.unit.sources.test_redis_restore import fresh, held, into, of, source, start  # noqa: F401 - a fixture

pytestmark = pytest.mark.needs("redis-server")


def test_a_cluster_is_captured_by_each_primary_and_restored_by_slot() -> None:
    client: Any
    with ExitStack() as stack:
        ports = [free_port() for _ in range(2)]
        nodes = [stack.enter_context(start("--cluster-enabled", "yes", port=port)) for port in ports]
        for node, slots in zip(nodes, ((0, 8000), (8001, 16383)), strict=True):
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
        for node in nodes:
            with node.client() as client:
                while "cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                    time.sleep(0.05)
        with start() as single:
            with single.client() as client:
                client.mset({f"key:{number}": number for number in range(500)})
            saved = Saved(of(single).capture())
            of(single).restore_into(saved, saved, RedisTarget(url=f"redis://127.0.0.1:{ports[0]}"), Restoring())
            sizes = [len(held(node)) for node in nodes]
            assert sum(sizes) == 500
            assert min(sizes) > 100
            cluster = source(f"redis://127.0.0.1:{ports[1]}")
            assert cluster.check() == []
            shards = Saved(cluster.capture())
            assert [item.entry.path for item in shards][:2] == [b"shard-00000.rdb", b"shard-08001.rdb"]
            assert shards.facts["shards"] == 2
            with start() as other:
                cluster.restore_into(shards, shards, into(other), Restoring())
                assert held(other) == held(single)


@pytest.mark.needs("openssl")
def test_tls_verifies_whom_it_talks_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate, port = tmp_path / "key.pem", tmp_path / "certificate.pem", free_port()
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    monkeypatch.setenv("TESTED_PASSWORD", "secret-of-the-test")
    tls = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    with start(*tls, "--tls-auth-clients", "no", "--tls-ca-cert-file", str(certificate)) as server:
        with server.client() as client:
            client.set("key", "value")
        made = source(f"rediss://localhost:{port}", ca_file=certificate)
        assert made.check() == []
        assert Saved(made.capture()).facts["lasting"] == {"0": {"string": 1}}
        problems = source(f"rediss://localhost:{port}").check()
        assert "certificate" in problems[0].what


@contextmanager
def sentinel(folder: Path, primary: int, program: str) -> Iterator[str]:
    """The address of a sentinel that watches a primary, and promotes a replica when it is gone for half a second."""
    port = free_port()
    folder.mkdir()
    configuration = folder / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nsentinel monitor main 127.0.0.1 {primary} 1\nsentinel down-after-milliseconds main 500\n"
    )
    child = subprocess.Popen(
        [program, str(configuration), "--sentinel", "--logfile", str(folder / "log")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield f"redis+sentinel://127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()


def soon(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_sentinels_tell_where_the_server_is(
    fresh: RedisProcess,  # noqa: F811
    require: Callable[[str], str],
) -> None:
    port = free_port()
    with start(port=port) as primary, sentinel(fresh.folder / "sentinel", port, require("redis-server")) as url:
        with primary.client() as client:
            client.set("key", "value")
        made = source(f"{url}/main")
        soon(lambda: not made.check(), "the sentinel does not know its primary")
        assert Saved(made.capture()).facts["lasting"] == {"0": {"string": 1}}
        wrong = source(f"{url}/other").check()
        assert "watches no master named `other`" in wrong[0].what


def test_after_a_failover_the_capture_and_the_restore_find_the_new_primary(
    fresh: RedisProcess,  # noqa: F811
    require: Callable[[str], str],
) -> None:
    first, second = free_port(), free_port()
    folder = fresh.folder / "failover"
    with (
        start(port=first) as primary,
        start("--replicaof", f"127.0.0.1 {first}", port=second) as replica,
        sentinel(folder, first, require("redis-server")) as url,
    ):
        with primary.client() as client:
            client.mset({f"key:{number}": "value" for number in range(500)})
        made = source(f"{url}/main")
        soon(lambda: not made.check(), "the sentinel does not know its primary")
        reader = place_of(made.settings)
        soon(lambda: resolved(reader).port == second, "the sentinel does not know its replica")
        assert resolved(reader, writing=True).port == first
        before = Saved(made.capture())
        assert before.facts["lasting"] == {"0": {"string": 500}}
        primary.kill()
        soon(lambda: resolved(reader, writing=True).port == second, "no replica was promoted")
        soon(lambda: not [each for each in made.check() if each.fatal], "the new primary can't be captured")
        after = Saved(made.capture())
        assert after.facts["lasting"] == before.facts["lasting"]
        with replica.client() as client:
            soon(lambda: client.info("replication")["role"] == "master", "it is still a replica")
            client.flushall()
        target = RedisTarget.model_validate({"url": f"{url}/main"})
        made.restore_into(before, before, target, Restoring())
        assert len(held(replica)) == 500

"""Restoring into servers of several kinds: chosen keys, large ones, older servers, clusters, TLS, sentinels."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Damaged, NewerFormat, NoSpace, NotFound, Occupied, Refused, Unavailable
from tasks.item import Stored
from tasks.sources.redis import Redis, RedisSettings, RedisTarget
from tasks.sources.redis_store import rdb, restoring
from tasks.sources.redis_store.place import place_of
from tasks.sources.redis_store.servers import resolved
from tasks.sources.source import Restoring
from tests.contracts.memory_items import MemoryItems, Rotten, Saved
from tests.contracts.test_served_source_contract import valkey
from tests.redis_process import RedisProcess, free_port, redis_process
from tests.redis_sample import contents, fill

pytestmark = pytest.mark.needs("redis-server")

SEARCH = "/usr/lib/redis/modules/redisearch.so"
"""A module that Debian has, with values of its own types."""


def start(*options: str, **how: Any) -> Any:
    return redis_process("--appendonly", "no", *options, **{"program": Path(shutil.which("redis-server") or ""), **how})


def source(url: str, **options: Any) -> Redis:
    return Redis("tested", RedisSettings.model_validate({"kind": "redis", "url": url, **options}))


def of(server: RedisProcess, **options: Any) -> Redis:
    return source(f"unix://{server.socket}", **options)


def into(server: RedisProcess, **options: Any) -> RedisTarget:
    return RedisTarget.model_validate({"url": f"unix://{server.socket}", **options})


def held(server: RedisProcess) -> dict[tuple[int, bytes], tuple[Any, ...]]:
    with server.client(text=False) as client:
        return contents(client)


@pytest.fixture(scope="module")
def filled() -> Iterator[RedisProcess]:
    with start() as server:
        with server.client(text=False) as client:
            fill(client, 20)
        yield server


@pytest.fixture(scope="module")
def saved(filled: RedisProcess) -> Saved:
    return Saved(of(filled).capture())


@pytest.fixture
def fresh() -> Iterator[RedisProcess]:
    with start() as server:
        yield server


def test_one_database_or_some_keys_or_elsewhere(filled: RedisProcess, fresh: RedisProcess, saved: Saved) -> None:
    before, made = held(filled), of(filled)
    made.restore_into(saved, saved, into(fresh, database=3), Restoring())
    assert held(fresh) == {key: value for key, value in before.items() if key[0] == 3}
    target = into(fresh, database=0, keys=["hash:*", "*fields"], into_database=7)
    made.restore_into(saved, saved, target, Restoring())
    chosen = {name: value for (at, name), value in before.items() if not at and re.match(rb"hash:|.*fields$", name)}
    assert {name: value for (at, name), value in held(fresh).items() if at == 7} == chosen
    with pytest.raises(Occupied, match="in database 7"):
        made.restore_into(saved, saved, target, Restoring())
    with pytest.raises(NotFound, match="nothing-like-this"):
        made.restore_into(saved, saved, into(fresh, keys="nothing-like-this*"), Restoring())
    with pytest.raises(Refused, match="has no database 99"):
        made.restore_into(saved, saved, into(fresh, keys="hash:*", into_database=99), Restoring())


def test_keys_of_one_name_in_several_databases_are_not_put_into_one(fresh: RedisProcess) -> None:
    with start() as server:
        for database in range(2):
            with server.client(database) as client:
                client.mset({f"only in {database}: {number}": number for number in range(2000)})
                client.set("in both", database)
        saved = Saved(of(server).capture())
        for overwrite in (False, True):
            with pytest.raises(Refused, match="several databases of the snapshot have a key `in both`"):
                of(server).restore_into(saved, saved, into(fresh, into_database=5), Restoring(overwrite=overwrite))
            assert held(fresh) == {}
        of(server).restore_into(saved, saved, into(fresh, into_database=5, keys="only *"), Restoring())
        of(server).restore_into(saved, saved, into(fresh, into_database=6, database=1), Restoring())
    with fresh.client(5) as five, fresh.client(6) as six:
        assert (five.dbsize(), six.get("in both")) == (4000, "1")


def test_large_keys_are_written_in_parts(
    filled: RedisProcess, fresh: RedisProcess, saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.sources.redis_store.walk.LARGE", 500)
    monkeypatch.setattr(restoring, "_PIECE", 700)
    of(filled).restore_into(saved, saved, into(fresh), Restoring())
    assert held(fresh) == held(filled)
    with fresh.client() as client:
        client.zadd("many scores", {"one": 1})
    with pytest.raises(Occupied):
        of(filled).restore_into(saved, saved, into(fresh), Restoring())
    of(filled).restore_into(saved, saved, into(fresh), Restoring(overwrite=True))
    assert held(fresh) == held(filled)


@pytest.mark.parametrize("large", [500, 1 << 20])
def test_the_keys_before_what_is_damaged_come_back_and_nothing_half(
    filled: RedisProcess, fresh: RedisProcess, saved: Saved, *, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr("tasks.sources.redis_store.walk.LARGE", large)
    monkeypatch.setattr(restoring, "_PIECE", 700)
    size = len(saved[b"dump.rdb"].content)
    right, counts = held(filled), set[int]()
    for part in range(1, 20):
        with fresh.client() as client:
            client.flushall()
            client.function_flush()
        with pytest.raises(Damaged, match=r"a block is rotten; [\d,]+ keys were restored, but none") as raised:
            of(filled).restore_into(
                Rotten(saved, b"dump.rdb", after=size * part // 20), saved, into(fresh), Restoring()
            )
        found = held(fresh)
        assert found == {key: value for key, value in right.items() if key in found}
        told = re.search(r"([\d,]+) keys", str(raised.value))
        assert told is not None
        assert int(told[1].replace(",", "")) == len(found)
        counts.add(len(found))
    assert len(counts) > 5, "more of it, more keys"


def test_what_is_damaged_is_put_beside_other_keys_but_never_over_them(
    filled: RedisProcess, fresh: RedisProcess, saved: Saved
) -> None:
    rotten = Rotten(saved, b"dump.rdb", after=len(saved[b"dump.rdb"].content) - 1)
    with fresh.client() as client:
        client.set("of another", "kept")
    with pytest.raises(Damaged, match="a block is rotten"):
        of(filled).restore_into(rotten, saved, into(fresh), Restoring())
    assert held(fresh) == held(filled) | {(0, b"of another"): held(fresh)[0, b"of another"]}
    with fresh.client() as client:
        client.flushall()
        client.function_flush()
        client.set("string:0:3", "mine")
    before = held(fresh)
    with pytest.raises(Occupied):
        of(filled).restore_into(rotten, saved, into(fresh), Restoring())
    assert held(fresh) == before


def test_a_server_that_keeps_no_checksum_is_captured_and_restored(fresh: RedisProcess, tmp_path: Path) -> None:
    with start("--rdbchecksum", "no") as server:
        with server.client() as client:
            client.set("key", "value")
        saved = Saved(of(server).capture())
        assert saved[b"dump.rdb"].content.endswith(bytes(8))
        of(server).restore_into(saved, saved, into(fresh), Restoring())
        assert held(fresh) == held(server)
        of(server).restore(saved, saved, tmp_path, Restoring())
        assert of(server).examine(tmp_path)["lasting"] == saved.facts["lasting"]


def test_keys_that_have_expired_are_told(fresh: RedisProcess) -> None:
    with fresh.client() as client:
        client.set("short", "lived", px=1500)
        client.set("long", "lived")
    saved = Saved(of(fresh).capture())
    time.sleep(1.6)
    with start() as other:
        lines = of(fresh).restore_into(saved, saved, into(other), Restoring())
        assert set(held(other)) == {(0, b"long")}
    assert any("expired" in line for line in lines)


def test_redis_and_valkey_take_each_others_keys_and_say_which_they_do_not(
    filled: RedisProcess, fresh: RedisProcess, saved: Saved
) -> None:
    client: Any
    with start(program=valkey()) as newer:
        of(filled).restore_into(saved, saved, into(newer), Restoring())
        there = held(newer)
        assert {key: each for key, each in there.items() if each[0] != "stream"} == {
            key: each for key, each in held(filled).items() if each[0] != "stream"
        }
        back = Saved(of(newer).capture())
        of(newer).restore_into(back, back, into(fresh, keys=["hash:*", "sorted:*"]), Restoring())
        with newer.client() as client:
            client.hset("new kind", mapping={"field": "value"})
            client.execute_command("HPEXPIREAT", "new kind", 4_000_000_000_000, "FIELDS", 1, "field")
        back = Saved(of(newer).capture())
        with pytest.raises(
            Refused, match="`new kind` in database 0, a hash as servers of Valkey from version 9 on keep"
        ):
            of(newer).restore_into(back, back, into(fresh, keys="new*"), Restoring())
        with start(program=valkey()) as other:
            of(newer).restore_into(back, back, into(other), Restoring())
            with other.client() as client:
                assert client.execute_command("HPEXPIRETIME", "new kind", "FIELDS", 1, "field") == [4_000_000_000_000]


def test_a_hash_of_redis_whose_fields_expire_is_not_said_to_need_a_newer_valkey() -> None:
    """As DUMP of Redis 7.4 gives `HSET h f v`, with an expiry of the field."""
    pair = rdb.string(b"f") + rdb.string(b"v")
    dump = rdb.magic(12) + bytes([rdb.HASH_TTL]) + rdb.string(b"h") + (4_000_000_000_000).to_bytes(8, "little")
    dump += rdb.length(1) + rdb.length(1) + pair + bytes([rdb.EOF])
    dump += rdb.crc64(dump).to_bytes(8, "little")
    with start(program=valkey()) as server:
        items = MemoryItems([Saved(of(server).capture())[b"dump.rdb"]._replace(content=dump)])
        with pytest.raises(
            Refused, match=r"`h` in database 0, a hash as servers of Redis from version 7\.4 on keep it"
        ):
            of(server).restore_into(items, items, into(server), Restoring())


def test_what_only_a_newer_server_knows_is_no_damage(fresh: RedisProcess) -> None:
    with start() as server:
        with server.client() as client:
            client.set("key", "value")
        saved = Saved(of(server).capture())
        content = b"REDIS0099" + saved[b"dump.rdb"].content[rdb.MAGIC : -rdb.TRAILER - 1]
        content += bytes([99]) + rdb.string(b"new") + b"unknown" + bytes([rdb.EOF])
        content += rdb.crc64(content).to_bytes(rdb.TRAILER, "little")
        newer = MemoryItems([saved[b"dump.rdb"]._replace(content=content)])
        said = r"too new for this version, which does not know the type 99 .* 1 keys were restored, but none that come"
        with pytest.raises(NewerFormat, match=said) as caught:
            of(server).restore_into(newer, newer, into(fresh), Restoring())
        assert "another destination" not in str(caught.value)
        assert held(fresh) == held(server)


@pytest.mark.needs(SEARCH)
@pytest.mark.parametrize("method", ["snapshot", "scan"])
def test_the_values_of_a_module_come_back_where_it_is_loaded_and_are_refused_by_name_elsewhere(
    method: str, fresh: RedisProcess
) -> None:
    client: Any
    with start("--loadmodule", SEARCH) as server, start("--loadmodule", SEARCH) as other:
        with server.client() as client:
            client.execute_command("FT.CREATE", "index", "SCHEMA", "title", "TEXT", "number", "NUMERIC")
            for number in range(20):
                fields = ("FIELDS", "title", f"hello number{number}", "number", str(number))
                client.execute_command("FT.ADD", "index", f"document{number}", "1.0", *fields)
        saved = Saved(of(server, method=method).capture())
        assert saved.flaws == []
        assert saved.facts["lasting"]["0"]["module"] > 20
        assert of(server).restore_into(saved, saved, into(other), Restoring()) == []
        with other.client() as client:
            assert client.execute_command("FT.SEARCH", "index", "number7", "NOCONTENT") == [1, "document7"]
        again = Saved(of(other, method=method).capture())
        assert again.facts["lasting"] == saved.facts["lasting"]  # their bytes are the module's own matter
        with pytest.raises(Refused, match=r"key `[^`]+` in database 0, a value of a module .*: load the module"):
            of(server).restore_into(saved, saved, into(fresh, keys="ft:*"), Restoring())


def test_users_come_back_but_the_one_that_restores(fresh: RedisProcess) -> None:
    client: Any
    with start() as server:
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~read:*", "+get", "(+set ~other)")
        saved = Saved(of(server).capture())
        lines = of(server).restore_into(saved, saved, into(fresh, users=True), Restoring())
        with server.client() as client, fresh.client() as other:
            before, after = client.execute_command("ACL", "LIST"), other.execute_command("ACL", "LIST")
    # Which is what a reset sets, and is told of everybody by Redis 7.2 and later.
    before, after = ([line.replace(" sanitize-payload", "") for line in lines] for lines in (before, after))
    assert after == before
    left, passing = lines
    assert "`default` was left" in left
    assert "gone when it is restarted" in passing


def test_users_that_stay_behind_are_told_where_all_else_comes_back_and_nothing_was_said_of_them(
    fresh: RedisProcess,
) -> None:
    with start() as server:
        with server.client() as client:
            client.set("key", "value")
            client.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~read:*", "+get")
        saved = Saved(of(server).capture())
        (line,) = of(server).restore_into(saved, saved, into(fresh), Restoring())
        assert "`-o users=true`: `reader`" in line
        how = Restoring(overwrite=True)
        assert of(server).restore_into(saved, saved, into(fresh, users=False), how) == []
        assert of(server).restore_into(saved, saved, into(fresh, keys="key"), how) == []


def test_a_replica_takes_nothing_and_an_append_only_file_is_told(
    filled: RedisProcess, saved: Saved, tmp_path: Path
) -> None:
    with start("--replicaof", "127.0.0.1", "1") as replica, pytest.raises(Refused, match=r"primary 127\.0\.0\.1:1"):
        of(filled).restore_into(saved, saved, into(replica), Restoring())
    (tmp_path / "appendonlydir").mkdir()
    lines = of(filled).restore(saved, saved, tmp_path, Restoring())
    assert any("appendonlydir" in line for line in lines)


def test_the_restored_file_is_loaded_by_a_server(filled: RedisProcess, saved: Saved) -> None:
    scanned = Saved(of(filled, method="scan").capture())
    for each in (saved, scanned):
        with start() as server:
            server.kill()
            of(filled).restore(each, each, server.folder, Restoring())
            server.start()
            assert held(server) == held(filled)


def test_a_target_without_memory_says_so_and_one_that_evicts_is_told(filled: RedisProcess, saved: Saved) -> None:
    with start("--maxmemory", "3mb") as small, pytest.raises(NoSpace, match="maxmemory"):
        of(filled).restore_into(saved, saved, into(small), Restoring())
    with start("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru") as evicting:
        lines = of(filled).restore_into(saved, saved, into(evicting), Restoring())
        assert any("allkeys-lru" in line for line in lines)


def test_a_target_that_is_killed_meanwhile_is_unavailable(
    filled: RedisProcess, fresh: RedisProcess, saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = []

    class Killing(MemoryItems):
        def open(self, item: Stored) -> Any:
            killed.append(item)
            fresh.kill()
            return super().open(item)

    with pytest.raises(Unavailable, match=r"can't be reached|ended the connection"):
        of(filled).restore_into(Killing(saved), saved, into(fresh), Restoring())
    assert killed


def test_how_often_and_how_long_ago_a_key_was_used_comes_back(fresh: RedisProcess) -> None:
    with start("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lfu") as server:
        with server.client() as client:
            client.set("key", "value")
            for _ in range(200):
                client.get("key")
            often = client.object("FREQ", "key")
        saved = Saved(of(server).capture())
    with start("--maxmemory-policy", "allkeys-lfu") as other:
        of(fresh).restore_into(saved, saved, into(other), Restoring())
        with other.client() as client:
            assert client.object("FREQ", "key") == often > 0


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


def test_sentinels_tell_where_the_server_is(fresh: RedisProcess, require: Callable[[str], str]) -> None:
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
    fresh: RedisProcess, require: Callable[[str], str]
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

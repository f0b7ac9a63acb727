"""Restoring into servers of several kinds: chosen keys, large ones, older servers, clusters, TLS, sentinels."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import NewerFormat, NoSpace, NotFound, Occupied, Refused, Unavailable
from tasks.item import Stored
from tasks.sources.redis import Redis, RedisSettings, RedisTarget
from tasks.sources.redis_store import rdb, restoring
from tasks.sources.source import Restoring
from tests.contracts.memory_items import MemoryItems, Saved
from tests.contracts.test_served_source_contract import valkey
from tests.redis_process import RedisProcess, redis_process
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

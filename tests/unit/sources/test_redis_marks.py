"""The mark of a run that restores into a Redis: in clusters, with few rights, where keys are evicted or expire."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from tasks.sources.redis import RedisTarget
from tasks.sources.redis_store import large_keys
from tasks.sources.source import Restoring
from tests.contracts.memory_items import Saved
from tests.contracts.test_served_source_contract import valkey
from tests.redis_process import RedisProcess
from tests.unit.sources.redis_cut_off import (  # noqa: F401 - a fixture
    RUN,
    cut_off,
    killed,
    names,
    restoring_from,
    slowly,
    small_steps,
)
from tests.unit.sources.test_redis_restore import fresh, held, into, of, start  # noqa: F401 - fixtures
from tests.unit.sources.test_redis_servers import cluster, url_of

pytestmark = pytest.mark.needs("redis-server")


def test_servers_of_a_cluster_go_on_each_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for program in (None, valkey()):
        with start() as server, cluster(**({"program": program} if program else {})) as nodes:
            for node in nodes:
                with node.client() as client:
                    client.flushall()
            with server.client() as client:
                client.mset({f"key:{number}": "v" * 50 for number in range(4000)})
                client.sadd("large", *(str(number) * 10 for number in range(3000)))
                client.xadd("large stream", {"field": "x" * 300_000})
                client.xgroup_create("large stream", "readers", "0")
            made, saved, dice = of(server), Saved(of(server).capture()), random.Random(3)
            target = RedisTarget(url=url_of(nodes[0]))
            lives = 1
            restore = slowly(restoring_from(made, saved, target))
            while (ended := killed(restore, dice.uniform(0.01, 0.1) + 0.02 * lives)) is None:
                lives += 1
            assert (ended, lives > 1) == (0, True)
            made.forget_run(target, RUN)
            assert held(nodes[0]) | held(nodes[1]) == held(server)
            assert min(len(held(node)) for node in nodes) > 1000


@pytest.fixture
def saved(fresh: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> Saved:  # noqa: F811
    """Of a server that is empty by now. There is a user `few` to be."""
    monkeypatch.setenv("TESTED_PASSWORD", "secret-of-the-test")
    with fresh.client() as client:
        client.mset({f"string:{number}": number for number in range(300)})
        taken = Saved(of(fresh).capture())
        client.flushall()
    return taken


def login(server: RedisProcess, rights: str) -> dict[str, str]:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "few", "reset", "on", ">secret-of-the-test", *rights.split())
    return {"username": "few", "password": "env:TESTED_PASSWORD"}


def test_the_rights_that_are_named_are_enough(saved: Saved, fresh: RedisProcess) -> None:  # noqa: F811
    few = login(fresh, "~* -@all +restore +time +select +eval +get +set +exists +del +info")
    target = into(fresh, database=0, into_database=4, **few)
    cut_off(fresh, restoring_from(of(fresh), saved, target), least=30)
    with fresh.client(4) as client:
        assert list(client.scan_iter("geometra-*")) == ["geometra-restore:run:the-run"]
        of(fresh).restore_into(saved, saved, target, RUN)
        of(fresh).forget_run(target, RUN)
        assert client.dbsize() == 300


@pytest.mark.parametrize("rights", ["+@all -eval ~*", "+@all -set ~*", "+@all ~string:*", "+@all -info ~*"])
def test_a_user_who_may_keep_none_restores_as_before(rights: str, saved: Saved, fresh: RedisProcess) -> None:  # noqa: F811
    of(fresh).restore_into(saved, saved, into(fresh, **login(fresh, rights)), RUN)
    assert names(fresh, "*") == sorted(f"string:{number}" for number in range(300))


def test_a_server_that_evicts_keeps_no_mark(fresh: RedisProcess) -> None:  # noqa: F811
    with start("--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl") as evicting:
        with fresh.client() as client:
            client.mset({f"key:{number}": "value" for number in range(100)})
        saved = Saved(of(fresh).capture())
        [line] = of(fresh).restore_into(saved, saved, into(evicting), RUN)
        assert "evicts keys" in line
        assert held(evicting) == held(fresh)


def test_a_large_key_that_expires_before_it_is_all_there_is_no_error(fresh: RedisProcess) -> None:  # noqa: F811
    for how in (RUN, Restoring()):
        with start() as server:
            with server.client() as client:
                client.sadd("large", *(str(number) * 10 for number in range(3000)))
                client.xadd("stream", {"field": "x" * 300_000})
                for name in ("large", "stream"):
                    client.pexpire(name, 1500)
                client.set("lasting", 1)
            saved, made = Saved(of(server).capture()), of(server)
        with pytest.MonkeyPatch.context() as patched:
            for kind in (large_keys.Elements, large_keys.Spooled):
                finish = kind.finish

                def late(large: Any, finish: Callable[[Any], None] = finish) -> None:
                    time.sleep(1.6)
                    finish(large)

                patched.setattr(kind, "finish", late)
            made.restore_into(saved, saved, into(fresh), how)
        made.forget_run(into(fresh), how)
        with fresh.client() as client:
            assert client.keys() == ["lasting"]
            client.flushall()

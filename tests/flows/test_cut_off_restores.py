"""The worker that restores into a server, or git repositories, is killed: the one that takes over goes on."""

from __future__ import annotations

import os
import time

import pytest

from tests.flows.house import House
from tests.flows.test_night import local
from tests.flows.test_shared_restores import ask, outcome, restorer
from tests.git_sample import commit, git, init
from tests.postgres_fixtures import postgres, postgres_programs, shared_postgres  # noqa: F401 - fixtures
from tests.postgres_process import PostgresProcess
from tests.redis_process import redis_process

SLOW = (
    "CREATE TABLE notes AS SELECT i AS id FROM generate_series(1, 3) i",
    """CREATE FUNCTION slow(i integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
       BEGIN PERFORM pg_catalog.pg_sleep(0.5); RETURN i; END $$""",
    "CREATE INDEX slowly ON notes (slow(id))",
)
BUILDING = "SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX slowly%' AND state = 'active'"


def test_an_empty_database_whose_restore_was_killed_is_whole_in_the_end(
    house: House,
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    postgres.create("slow")
    postgres.run(*SLOW, database="slow")
    house.configure(
        {"models": {"kind": "postgres", "url": postgres.url(), "databases": ["slow"], "roles": False}},
        {"here": local(house)},
    )
    worker = house.worker(queues="control,databases,transfer,proof")
    assert house.night()["state"] == "done"
    worker.kill()
    postgres.drop("slow")
    postgres.create("slow")
    before = postgres.rows("SELECT datname FROM pg_database")
    first = restorer(house)
    ask(house, into=postgres.url())
    house.wait_for(lambda: postgres.rows(BUILDING), "an index that is built")
    first.kill()
    restorer(house)
    told = outcome(house)
    assert (told["state"], told["failure"], told["flaws"]) == ("done", None, [])
    assert {*postgres.rows("SELECT datname FROM pg_database")} == {*before}
    assert postgres.rows("SELECT count(*) FROM notes", "slow") == [(3,)]


@pytest.mark.needs("redis-server")
def test_a_redis_whose_restore_was_killed_is_what_it_was_when_that_began(house: House) -> None:
    """Also where a newer snapshot has come meanwhile, and where the worker is killed again once all is there."""
    expected = {f"key:{number}": f"value {number}" for number in range(60_000)}
    with redis_process("--appendonly", "no") as server, redis_process("--appendonly", "no") as target:
        into = f"unix://{target.socket}"
        house.configure({"models": {"kind": "redis", "url": f"unix://{server.socket}"}}, {"here": local(house)})
        capturing = house.worker(queues="control,databases,transfer,proof")
        with server.client() as client:
            client.mset(expected)
            assert house.night()["state"] == "done"
            client.set("newer", "value")
        with target.client() as client, target.client(1) as other:
            other.set("their own", "value")
            first = restorer(house)
            ask(house, into=into)
            while client.dbsize() < 5000:
                time.sleep(0.001)
            client.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
            first.kill()
            client.execute_command("CLIENT", "UNPAUSE")
            assert client.dbsize() < 60_000
            assert house.night()["state"] == "done"
            capturing.kill()
            second = restorer(house)
            told = outcome(house)
            assert (told["state"], told["failure"], told["flaws"]) == ("done", None, [])
            names = client.keys()
            assert dict(zip(names, client.mget(names), strict=True)) == expected
            assert other.keys() == ["their own"]
            second.kill()

            client.delete("key:1")
            house.client.delete(*house.client.keys("geometra:outcomes:*back*"))
            ask(house, into=into)
            restorer(house)
            again = outcome(house)
            assert (again["state"], again["snapshot"]) == ("done", told["snapshot"])
            assert client.dbsize() == 59_999


@pytest.mark.needs("git")
def test_of_repositories_those_that_are_back_stay_and_the_others_come(house: House) -> None:
    names = ["first", "second", "third"]
    repositories = [init(house.folder / "code" / name) for name in names]
    heads = [commit(each, {f"{n}": os.urandom(20_000) for n in range(60)}) for each in repositories]
    house.configure(
        {"models": {"kind": "source_code", "repositories": [str(each) for each in repositories]}},
        {"here": local(house)},
    )
    worker = house.worker(queues="control,files,transfer,proof")
    assert house.night()["state"] == "done"
    worker.kill()
    back = house.folder / "back"
    first = restorer(house)
    ask(house)
    while not (back / "first").exists():
        time.sleep(0.001)
    first.kill()
    assert not (back / "third").exists()
    restorer(house)
    told = outcome(house)
    assert (told["state"], told["failure"], told["flaws"]) == ("done", None, [])
    assert sorted(os.listdir(back)) == names
    assert [git(back / name, "rev-parse", "HEAD").decode().strip() for name in names] == heads
    assert list(back.rglob("*geometra*")) == []

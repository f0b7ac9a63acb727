"""The worker that restores into a server is killed: the one that takes over goes on."""

from __future__ import annotations

from tests.flows.house import House
from tests.flows.test_night import local
from tests.flows.test_shared_restores import ask, outcome, restorer
from tests.postgres_fixtures import postgres, postgres_programs, shared_postgres  # noqa: F401 - fixtures
from tests.postgres_process import PostgresProcess

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

"""Whoever restores databases and roles is killed: what is left passes for nothing whole, and is in nobody's way."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest

from tasks.errors import Occupied
from tasks.sources.postgresql import creating, in_work
from tasks.sources.postgresql.roles import apply_roles
from tasks.sources.postgresql.server import Server
from tasks.sources.postgresql.tables_restore import load_existing
from tasks.sources.source import Restoring
from tests.contracts.child import FORK
from tests.contracts.memory_items import Saved
from tests.postgres_content import rows_of
from tests.postgres_fixtures import FILLED, postgres, postgres_programs, shared_postgres, source_of, target_of  # noqa: F401
from tests.postgres_process import PostgresProcess, postgres_process
from tests.unit.sources.test_postgres_restoring import databases, restore, saved  # noqa: F401 - a fixture

BEFORE = {"postgres", "template0", "template1", FILLED}
COMMENT = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'made'"
WAITING = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


def killed_after(words: str, server: PostgresProcess, items: Saved, **how: Any) -> None:
    """Restores in a process that is killed once the server has done the first statement that begins so."""
    execute = psycopg.Connection.execute

    def execute_and_die(self: psycopg.Connection[Any], query: Any, *given: Any, **more: Any) -> Any:
        done = execute(self, query, *given, **more)
        if (query.decode() if isinstance(query, bytes) else query).startswith(words):
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    def work() -> None:
        with mock.patch.object(psycopg.Connection, "execute", execute_and_die):
            restore(server, items, **how)

    process = FORK.Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def wait_for_a_lock(server: PostgresProcess, doing: Future[Any]) -> None:
    """Until somebody waits for one, and at most until what is going on has ended."""
    while not doing.done() and not server.rows(WAITING):
        pass


@pytest.mark.parametrize("words", ['ALTER DATABASE "shop" ', 'ALTER DATABASE "shop being'])
def test_what_is_replaced_is_there_and_lets_in_until_what_replaces_it_is_complete(
    words: str,
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    postgres.create("small")
    postgres.run("CREATE TABLE pets (id integer)", "INSERT INTO pets VALUES (1)", database="small")
    postgres.run("COMMENT ON DATABASE small IS 'as it was'")
    items = Saved(source_of(postgres, "small", roles=False).capture())
    postgres.create("shop")
    postgres.run("CREATE TABLE own (id integer)", database="shop")
    killed_after(words, postgres, items, into="shop", overwrite=True)
    assert [*rows_of(postgres, "shop")] == ["public.own"]
    restore(postgres, items, into="shop", overwrite=True)
    assert rows_of(postgres, "shop") == rows_of(postgres, "small")
    comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'shop'"
    assert postgres.rows(comment) == [("as it was",)]


def test_a_role_is_whole_or_not_there(postgres: PostgresProcess) -> None:  # noqa: F811
    postgres.create("small")
    postgres.run("CREATE ROLE caller LOGIN CONNECTION LIMIT 3")
    try:
        items = Saved(source_of(postgres, "small").capture())
        postgres.run("DROP ROLE caller")
        killed_after("CREATE ROLE caller", postgres, items, into="back")
        restore(postgres, items, into="back")
        role = "SELECT rolcanlogin, rolconnlimit FROM pg_roles WHERE rolname = 'caller'"
        assert postgres.rows(role) == [(True, 3)]
    finally:
        postgres.run("DROP ROLE IF EXISTS caller")


def test_roles_that_two_make_at_once_are_told_as_there(postgres: PostgresProcess) -> None:  # noqa: F811
    script = "CREATE ROLE caller; ALTER ROLE caller LOGIN; COMMENT ON ROLE caller IS 'ours'; CREATE ROLE other;"
    server = Server.at(postgres.url())
    try:
        with ThreadPoolExecutor(1) as pool, postgres.connect() as first, postgres.connect() as ours:
            with first.transaction():
                first.execute("CREATE ROLE caller")
                late = pool.submit(apply_roles, server, ours, script)
                wait_for_a_lock(postgres, late)
            assert late.result() == ["roles that were there already are left as they are: `caller`"]
        assert postgres.rows("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'caller'") == [(False,)]
    finally:
        postgres.run("DROP ROLE IF EXISTS caller, other")


def test_more_roles_than_the_server_can_lock_at_once(postgres_programs: Path) -> None:  # noqa: F811
    script = "".join(f"CREATE ROLE r{n}; ALTER ROLE r{n} SET work_mem = '4MB';" for n in range(400))
    few = {"max_locks_per_transaction": "10", "max_connections": "5", "max_wal_senders": "0"}
    with postgres_process(postgres_programs, **few) as server, server.connect() as connection:
        assert apply_roles(Server.at(server.url()), connection, script) == []


def test_what_a_killed_restore_has_left_goes_with_the_next_one_that_may_overwrite(
    saved: Saved,  # noqa: F811
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    killed_after("ANALYZE", postgres, saved, into="back")
    (left,) = databases(postgres) - {"small"} - BEFORE
    (told,) = restore(postgres, saved, into="back")
    assert told == f"the database `{left}` is left from a restore that was cut off: drop it"
    assert restore(postgres, saved, into="other", overwrite=True) == [told], "it is another database's"
    with postgres.connect() as running:
        in_work.hold(running, left)
        assert restore(postgres, saved, into="back", overwrite=True) == [], "it is being made"
        assert left in databases(postgres)
    with postgres.connect(left):  # a pg_restore that goes on
        assert restore(postgres, saved, into="back", overwrite=True) == []
    killed_after("ANALYZE", postgres, saved, into="twice")
    target = target_of(postgres, **{"as": "twice"})
    assert source_of(postgres).restore_into(saved, saved, target, Restoring(again=True)) == []
    postgres.drop("twice")
    assert databases(postgres) - BEFORE == {"small", "back", "other"}


def test_half_of_an_empty_database_that_was_there_does_not_pass_for_it(
    saved: Saved,  # noqa: F811
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    postgres.create("made")
    postgres.run("COMMENT ON DATABASE made IS 'for the shop'")
    killed_after("ANALYZE", postgres, saved, into="made")
    assert postgres.rows(COMMENT) == [("geometra-backup is restoring this database",)]
    with pytest.raises(Occupied, match=r"`made` holds a part of itself, from a restore that was cut off: allow to"):
        restore(postgres, saved, into="made")
    with postgres.connect() as running:
        in_work.hold(running, "made")
        with pytest.raises(Occupied, match="another restore is filling the database `made`"):
            restore(postgres, saved, into="made", overwrite=True)
    source_of(postgres).restore_into(saved, saved, target_of(postgres, **{"as": "made"}), Restoring(again=True))
    assert rows_of(postgres, "made") == rows_of(postgres, "small")
    assert postgres.rows(COMMENT) == [(None,)]
    with pytest.raises(Occupied, match="has data already"):
        source_of(postgres).restore_into(saved, saved, target_of(postgres, **{"as": "made"}), Restoring(again=True))
    postgres.drop("made")
    postgres.create("made")
    postgres.run("COMMENT ON DATABASE made IS 'for the shop'")
    restore(postgres, saved, into="made")
    assert postgres.rows(COMMENT) == [("for the shop",)]


@pytest.mark.parametrize("there", [False, True])
def test_of_two_at_once_one_is_whole_and_the_other_is_told(
    there: bool,
    saved: Saved,  # noqa: F811
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    def outcome(_: int) -> str:
        try:
            return f"{restore(postgres, saved, into='made')}"
        except Occupied:
            return "occupied"

    for _ in range(3):
        if there:
            postgres.create("made")
        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(outcome, range(2))) == ["[]", "occupied"]
        assert rows_of(postgres, "made") == rows_of(postgres, "small")
        assert postgres.rows(COMMENT) == [(None,)]
        postgres.drop("made")
    assert databases(postgres) - BEFORE == {"small"}


def test_an_empty_database_that_another_restore_is_about_to_fill_is_left_to_it(
    saved: Saved,  # noqa: F811
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    postgres.create("made")
    with postgres.connect("template1") as running:
        in_work.hold(running, "made")
        for overwrite in (False, True):
            with pytest.raises(Occupied, match="another restore is filling the database `made`"):
                restore(postgres, saved, into="made", overwrite=overwrite)
    assert postgres.rows(COMMENT) == [(None,)]


def test_a_name_that_two_give_in_one_moment_is_the_first_ones(postgres: PostgresProcess) -> None:  # noqa: F811
    for name in ("first", "second"):
        postgres.create(name)
    with ThreadPoolExecutor(1) as pool, postgres.connect() as other, postgres.connect() as ours:
        with other.transaction():
            other.execute("ALTER DATABASE first RENAME TO made")
            late = pool.submit(creating.put_in_place, ours, "second", "made", replace=False)
            wait_for_a_lock(postgres, late)
        with pytest.raises(Occupied, match="was made by someone else meanwhile"):
            late.result()


def test_half_of_another_restore_is_not_taken_for_what_this_one_has_left(
    saved: Saved,  # noqa: F811
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    postgres.create("made")
    killed_after("ANALYZE", postgres, saved, into="made")
    postgres.run("CREATE TABLE own (id integer)", database="made")
    source, target = source_of(postgres), target_of(postgres, **{"as": "made"})
    with pytest.raises(
        Occupied, match=r"from a restore that was cut off: allow to overwrite \(`--overwrite`; .*\), or drop it"
    ):
        source.restore_into(saved, saved, target, Restoring(again=True, run="later"))
    assert "public.own" in rows_of(postgres, "made")


def test_a_table_that_is_being_restored_is_left_to_that_restore(
    saved: Saved,  # noqa: F811
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    postgres.create("made")
    postgres.run("CREATE TABLE other (id integer)", database="made")
    running, end = threading.Event(), threading.Event()

    def load(*given: Any, **how: Any) -> None:
        running.set()
        end.wait(20)
        load_existing(*given, **how)

    def pets(**how: Any) -> list[str]:
        return restore(postgres, saved, into="made", database="small", table="other.pets", **how)

    with (
        ThreadPoolExecutor(1) as pool,
        mock.patch("tasks.sources.postgresql.tables_restore.load_existing", load),
    ):
        first = pool.submit(pets)
        assert running.wait(20)
        with pytest.raises(Occupied, match="another restore is filling the table"):
            pets(overwrite=True)
        end.set()
        assert first.result() == []
    assert "other.pets" in rows_of(postgres, "made")


def test_a_table_that_the_same_restore_has_left_is_made_again(
    saved: Saved,  # noqa: F811
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    postgres.create("made")
    postgres.run("CREATE TABLE other (id integer)", database="made")
    left = "geometra-backup is restoring this table (run the)"
    postgres.run("CREATE SCHEMA other", "CREATE TABLE other.pets ()", database="made")
    postgres.run(f"COMMENT ON TABLE other.pets IS '{left}'", database="made")
    target = target_of(postgres, database="small", table="other.pets", **{"as": "made"})
    with pytest.raises(Occupied, match="is left from a restore that was cut off: drop it"):
        source_of(postgres).restore_into(saved, saved, target, Restoring(again=True, run="other"))
    assert source_of(postgres).restore_into(saved, saved, target, Restoring(again=True, run="the")) == []
    columns = "SELECT attname FROM pg_attribute WHERE attrelid = 'other.pets'::regclass AND attnum > 0"
    assert postgres.rows(columns, "made") == [("id",)]

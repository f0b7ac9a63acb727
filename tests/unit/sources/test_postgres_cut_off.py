"""Whoever restores databases and roles is killed: what is left passes for nothing whole, and is in nobody's way."""

from __future__ import annotations

import os
import signal
from typing import Any
from unittest import mock

import psycopg
import pytest

from tests.contracts.child import FORK
from tests.contracts.memory_items import Saved
from tests.postgres_content import rows_of
from tests.postgres_fixtures import postgres, postgres_programs, shared_postgres, source_of  # noqa: F401
from tests.postgres_process import PostgresProcess
from tests.unit.sources.test_postgres_restoring import restore


def killed_after(words: str, server: PostgresProcess, items: Saved, **how: Any) -> None:
    """Restores in a process that is killed once the server has done the first statement that begins so."""
    execute = psycopg.Connection.execute

    def execute_and_die(self: psycopg.Connection[Any], query: Any, *given: Any, **more: Any) -> Any:
        done = execute(self, query, *given, **more)
        if isinstance(query, bytes) and query.startswith(words.encode()):
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    def work() -> None:
        with mock.patch.object(psycopg.Connection, "execute", execute_and_die):
            restore(server, items, **how)

    process = FORK.Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


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

"""Drills of odd PostgreSQL servers: what is whole is never called otherwise, and no other server is touched."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import psycopg
import pytest

from tasks.drill import differences
from tasks.scratch import scratch_folder, usual
from tasks.sources.postgres import Postgres
from tasks.sources.postgresql.capture import Manner
from tasks.sources.postgresql.moment import Patience
from tasks.sources.postgresql.rehearsed import rehearsed_facts
from tasks.sources.postgresql.scratch_server import _SETTINGS, scratch_server
from tasks.sources.postgresql.server import Server
from tests.contracts.memory_items import MemoryItems, Saved
from tests.postgres_fixtures import postgres, postgres_programs, second_postgres, shared_postgres, source_of
from tests.postgres_process import PostgresProcess

__all__ = ["postgres", "postgres_programs", "second_postgres", "shared_postgres"]


def missed(source: Postgres, saved: Saved) -> list[str]:
    """What a drill says that finds the same."""
    with scratch_folder(usual()) as scratch:
        found = source.rehearse(saved, saved.facts, scratch)
    assert differences(saved.facts, found.looks) == []
    assert found.looks[0]["tables"].keys() == saved.facts["tables"].keys()
    return found.missed


def test_variables_that_mean_another_server_do_not_lead_there(
    postgres: PostgresProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.create("one")
    source = source_of(postgres, "one")
    saved = Saved(source.capture())
    monkeypatch.setattr("tasks.sources.postgresql.scratch_server._PORT", str(postgres.port))
    monkeypatch.setitem(_SETTINGS, "port", str(postgres.port))
    monkeypatch.setattr("tasks.sources.postgresql.scratch_server._START_SECONDS", 10)
    for name, value in (
        ("PGHOSTADDR", "127.0.0.1"),
        ("PGREQUIREAUTH", "scram-sha-256"),
        ("PGTARGETSESSIONATTRS", "read-only"),
        ("PGCHANNELBINDING", "require"),
    ):
        monkeypatch.setenv(name, value)
    assert missed(source, saved) == []


def test_settings_that_changed_since_say_nothing_of_a_snapshot(postgres: PostgresProcess) -> None:
    for name in ("one", "other"):
        postgres.create(name)
        postgres.run("SELECT lo_from_bytea(0, 'large')", database=name)
    both = Saved(source_of(postgres, "one", "other").capture())
    assert missed(source_of(postgres, "one", large_objects=False), both) == []
    one = Saved(source_of(postgres, "one", large_objects=False).capture())
    assert missed(source_of(postgres, "one", "other"), one) == []


def test_what_who_captured_may_not_read_is_not_compared(postgres: PostgresProcess) -> None:
    postgres.create("one")
    postgres.run("CREATE ROLE reader LOGIN")
    try:
        postgres.run(
            "CREATE TABLE open (x int)",
            "INSERT INTO open VALUES (1)",
            "CREATE TABLE hidden (x int)",
            "INSERT INTO hidden VALUES (1)",
            "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY",
            "GRANT SELECT ON open, hidden TO reader",
            "SELECT lo_from_bytea(4711, 'large')",
            "GRANT SELECT ON LARGE OBJECT 4711 TO reader",
            database="one",
        )
        source = source_of(postgres, "one", url=postgres.url(user="reader"))
        saved = Saved(source.capture())
        assert [flaw.path for flaw in saved.flaws] == [b"databases/one/tables/public/hidden.copy"]
        assert saved.facts["large_objects"] == {"one": {"count": 1}}
        assert missed(source, saved) == []
    finally:
        postgres.drop("one")
        postgres.run("DROP ROLE reader")


def test_an_extension_comes_back_in_the_version_that_is_here(postgres: PostgresProcess) -> None:
    postgres.create("one")
    postgres.run("CREATE EXTENSION hstore VERSION '1.4'", database="one")
    source = source_of(postgres, "one")
    (line,) = missed(source, Saved(source.capture()))
    assert line.startswith("the extension `hstore` of `one` is of version ")
    assert line.endswith(", and was 1.4")


def test_a_template_that_was_none(second_postgres: PostgresProcess) -> None:
    second_postgres.run("UPDATE pg_database SET datistemplate = false WHERE datname = 'template1'")
    second_postgres.run("CREATE TABLE held (x int)", "INSERT INTO held VALUES (1)", database="template1")
    source = source_of(second_postgres)
    saved = Saved(source.capture())
    assert saved.facts["tables"]["template1"]["rows"] == 1
    (line,) = missed(source, saved)
    assert line.startswith("the database `template1` was there, and sorts as")


def test_template1_alone(second_postgres: PostgresProcess) -> None:
    second_postgres.run("UPDATE pg_database SET datistemplate = false WHERE datname = 'template1'")
    second_postgres.run("CREATE TABLE held (x int)", "INSERT INTO held VALUES (1)", database="template1")
    source = source_of(second_postgres, "template1")
    (line,) = missed(source, Saved(source.capture()))
    assert line.startswith("the database `template1` was there, and sorts as")


def test_what_needs_roles_that_the_snapshot_does_not_hold(postgres: PostgresProcess) -> None:
    """As that of a hosted server, whose roles are left out."""
    postgres.create("one")
    postgres.run("CREATE ROLE reader", 'CREATE ROLE "an ""other"', "CREATE ROLE caller")
    try:
        statements = (
            "CREATE TABLE rows (x int)",
            "INSERT INTO rows VALUES (1)",
            'CREATE POLICY readers ON rows TO reader, pg_monitor, "an ""other"',
            "CREATE FOREIGN DATA WRAPPER far",
            "CREATE SERVER away FOREIGN DATA WRAPPER far",
            "CREATE USER MAPPING FOR caller SERVER away",
        )
        postgres.run(*statements, database="one")
        source = source_of(postgres, "one", roles=False)
        found = missed(source, Saved(source.capture()))
    finally:
        postgres.drop("one")
        postgres.run('DROP ROLE reader, "an ""other", caller')
    assert found == ["owners and privileges: the snapshot holds no roles"]


def test_a_database_that_does_not_come_back_is_missed(postgres: PostgresProcess) -> None:
    postgres.create("one")
    source = source_of(postgres, "one")
    saved = Saved(source.capture())
    facts = {**saved.facts, "tables": {**saved.facts["tables"], "other": {}}}
    with scratch_folder(usual()) as scratch:
        found = source.rehearse(saved, facts, scratch)
    assert differences(facts, found.looks) == ["`tables` of `other`"]


def test_where_no_database_came_back_that_is_seen(postgres_programs: Path) -> None:
    with scratch_folder(usual()) as scratch, scratch_server(scratch, postgres_programs) as url:
        manner = Manner(Patience(5, 60, 5), 1, roles=True, large_objects=True)
        found, _ = rehearsed_facts(Server.at(url), MemoryItems([]), {"tables": {"one": {}}}, manner)
    assert differences({"tables": {"one": {}}}, [found]) == ["`tables` of `one`"]


def test_without_roles_nothing_has_its_owner_and_that_is_told(postgres: PostgresProcess) -> None:
    postgres.create("one")
    postgres.run("CREATE ROLE owner")
    try:
        postgres.run("CREATE TABLE owned (x int)", "ALTER TABLE owned OWNER TO owner", database="one")
        source = source_of(postgres, "one", roles=False)
        assert missed(source, Saved(source.capture())) == ["owners and privileges: the snapshot holds no roles"]
    finally:
        postgres.drop("one")
        postgres.run("DROP ROLE owner")


def test_a_scratch_server_can_lock_as_many_tables_as_come(postgres_programs: Path) -> None:
    with (
        scratch_folder(usual()) as scratch,
        scratch_server(scratch, postgres_programs, tables=20_000) as url,
        psycopg.connect(url) as connection,
    ):
        connection.execute("DO $$BEGIN FOR n IN 1..40000 LOOP PERFORM pg_advisory_lock(n); END LOOP; END$$")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another")
def test_a_scratch_server_may_run_as_one_whose_group_has_another_name(
    postgres_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.sources.postgresql.scratch_server._user", lambda: "nobody")
    with scratch_folder(usual()) as scratch, scratch_server(scratch, postgres_programs) as url:
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert (scratch / "data").stat().st_uid == pwd.getpwnam("nobody").pw_uid

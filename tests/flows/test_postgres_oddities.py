"""Databases that are odd, closed or changed meanwhile: what one of them is, costs neither the others nor the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from tasks.errors import Occupied, Refused, SourceError, Unavailable
from tasks.sources.postgresql import catalogue
from tasks.sources.source import Restoring
from tests.contracts.memory_items import Saved
from tests.contracts.source_contract import agree
from tests.postgres_fixtures import (  # noqa: F401 - fixtures
    postgres,
    postgres_programs,
    second_postgres,
    shared_postgres,
    source_of,
    target_of,
)
from tests.postgres_process import PostgresProcess, postgres_process


@pytest.mark.parametrize("kind", ["SEQUENCE", "VIEW"])
def test_what_is_dropped_while_it_is_looked_at_is_tried_again(
    kind: str,
    postgres: PostgresProcess,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No lock keeps it: who reads it by its number, or its name, finds nothing."""
    postgres.create("changing")
    postgres.run(*(f"CREATE VIEW view{number} AS SELECT 1" for number in range(300)), database="changing")
    postgres.run("CREATE SEQUENCE passing", database="changing")
    sequences = catalogue.sequences

    def late(*given: Any) -> Any:
        if kind == "SEQUENCE":
            postgres.run("DROP SEQUENCE passing", database="changing")
        found = sequences(*given)
        if kind == "VIEW":
            postgres.run(*(f"DROP VIEW view{number}" for number in range(300)), database="changing")
        return found

    monkeypatch.setattr(catalogue, "sequences", late)
    with pytest.raises(Unavailable, match=r"dropped meanwhile|could not open relation"):
        Saved(source_of(postgres, "changing").capture())


def test_a_database_that_lets_nobody_in_costs_the_others_nothing(postgres: PostgresProcess) -> None:  # noqa: F811
    """Such as one that was made after the backup's user was given its rights; and one that has names in no encoding."""
    for name in ("good", "closed"):
        postgres.create(name)
    postgres.run("CREATE TABLE kept (id integer PRIMARY KEY)", database="good")
    postgres.run("CREATE DATABASE bytes ENCODING SQL_ASCII TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    with psycopg.connect(postgres.url("bytes"), autocommit=True, client_encoding="SQL_ASCII") as connection:
        connection.execute(b'CREATE TABLE "caf\xe9" (id integer)')
    postgres.run("REVOKE CONNECT ON DATABASE closed FROM PUBLIC", "CREATE ROLE guest LOGIN IN ROLE pg_read_all_data")
    try:
        source = source_of(postgres, "bytes", "closed", "good", url=postgres.url(user="guest"))
        saved = Saved(source.capture())
        assert [(flaw.path, flaw.what) for flaw in saved.flaws] == [
            (b"databases/bytes", "unreadable"),
            (b"databases/closed", "unreadable"),
        ]
        assert saved.facts["tables"].keys() == {"good"}
        assert saved[b"databases/good/tables/public/kept.copy"].content == b""
        with pytest.raises(Refused, match="permission denied for database"):
            Saved(source_of(postgres, "closed", url=postgres.url(user="guest")).capture())
    finally:
        postgres.run("DROP ROLE guest")


def test_a_table_whose_rows_are_hidden_costs_the_others_nothing(postgres: PostgresProcess) -> None:  # noqa: F811
    postgres.create("tenants")
    postgres.run(
        "CREATE TABLE kept (id integer PRIMARY KEY)",
        "CREATE TABLE hidden (id integer PRIMARY KEY)",
        "INSERT INTO kept VALUES (1)",
        "INSERT INTO hidden VALUES (1)",
        "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY",
        database="tenants",
    )
    postgres.run("CREATE ROLE guest LOGIN IN ROLE pg_read_all_data")
    try:
        saved = Saved(source_of(postgres, "tenants", url=postgres.url(user="guest")).capture())
    finally:
        postgres.run("DROP ROLE guest")
    [flaw] = saved.flaws
    assert (flaw.path, flaw.what) == (b"databases/tenants/tables/public/hidden.copy", "unreadable")
    assert saved[b"databases/tenants/tables/public/kept.copy"].content == b"1\n"


def test_a_database_whose_dropping_was_cut_off_stops_nothing_and_is_told(postgres: PostgresProcess) -> None:  # noqa: F811
    postgres.create("half gone")
    postgres.run("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half gone'")
    assert "half gone" not in Saved(source_of(postgres).capture()).facts["tables"]
    [problem] = [each for each in source_of(postgres).check() if "half gone" in each.what]
    assert not problem.fatal


def test_large_objects_that_are_not_wanted_do_not_come_back_empty(
    postgres: PostgresProcess,  # noqa: F811
    second_postgres: PostgresProcess,  # noqa: F811
) -> None:
    postgres.create("attachments")
    postgres.run("SELECT lo_from_bytea(0, 'content')", "CREATE TABLE kept (id integer)", database="attachments")
    source = source_of(postgres, "attachments", large_objects=False, roles=False)
    saved = Saved(source.capture())
    target = target_of(second_postgres, database="attachments")
    assert source.restore_into(saved, saved, target, Restoring()) == []
    assert second_postgres.rows("SELECT count(*) FROM pg_largeobject_metadata", "attachments") == [(0,)]
    assert agree(source.examine_at(target), saved.facts)
    whole = source_of(postgres, "attachments", roles=False)
    target = target_of(second_postgres, database="attachments", table="kept", **{"as": "one table"})
    saved = Saved(whole.capture())
    whole.restore_into(saved, saved, target, Restoring())
    assert second_postgres.rows("SELECT count(*) FROM pg_largeobject_metadata", "one table") == [(0,)]


def test_an_empty_database_of_another_encoding_is_not_filled(
    postgres: PostgresProcess,  # noqa: F811
    second_postgres: PostgresProcess,  # noqa: F811
) -> None:
    """As `createdb` makes it on a server without a locale: there each byte would be a character."""
    postgres.create("shop")
    postgres.run("CREATE TABLE kept (name text)", "INSERT INTO kept VALUES ('ü')", database="shop")
    saved = Saved(source_of(postgres, "shop", roles=False).capture())
    plain = "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    second_postgres.run(f"CREATE DATABASE shop ENCODING SQL_ASCII {plain}", f"CREATE DATABASE other {plain}")

    def put(into: str = "", *, overwrite: bool = False) -> list[str]:
        target = target_of(second_postgres, **{"as": into})
        return source_of(postgres).restore_into(saved, saved, target, Restoring(overwrite=overwrite))

    with pytest.raises(Occupied, match="its encoding is SQL_ASCII instead of UTF8"):
        put()
    assert put(overwrite=True) == []
    assert second_postgres.rows("SELECT length(name) FROM kept", "shop") == [(1,)]
    [line] = put("other")
    assert "`other` was there, and sorts as `C, C` says" in line
    if postgres.rows("SELECT current_setting('server_version_num')::int")[0][0] >= 150000:
        (kept,) = postgres.rows("SELECT datcollate, datctype FROM pg_database WHERE datname = 'shop'")
        alike = f"LC_COLLATE '{kept[0]}' LC_CTYPE '{kept[1]}'"
        second_postgres.run(
            f"CREATE DATABASE german TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk' {alike}"
        )
        [line] = put("german")
        assert f"sorts as `{kept[0]}, {kept[1]}, de-u-co-phonebk of ICU` says" in line


def test_a_database_that_sorts_by_rules_of_its_own_comes_back_with_them(
    postgres: PostgresProcess,  # noqa: F811
    second_postgres: PostgresProcess,  # noqa: F811
) -> None:
    if postgres.rows("SELECT current_setting('server_version_num')::int")[0][0] < 160000:
        pytest.skip("a server before 16 knows no such rules")
    german = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de'"
    postgres.run(f"CREATE DATABASE ruled {german} ICU_RULES '&b < z'")
    saved = Saved(source_of(postgres, "ruled", roles=False).capture())
    assert source_of(postgres).restore_into(saved, saved, target_of(second_postgres), Restoring()) == []
    assert second_postgres.rows("SELECT 'z' < 'c'", "ruled") == [(True,)]
    second_postgres.run(f"CREATE DATABASE plain {german}")
    target = target_of(second_postgres, **{"as": "plain"})
    [line] = source_of(postgres).restore_into(saved, saved, target, Restoring())
    assert "`plain` was there, and sorts as" in line


def test_what_can_not_be_dropped_is_left_beside_what_replaces_it_and_told(postgres: PostgresProcess) -> None:  # noqa: F811
    postgres.create("shop")
    postgres.run("CREATE TABLE kept (id integer)", "ALTER DATABASE shop SET work_mem TO '7MB'", database="shop")
    source = source_of(postgres, "shop", roles=False)
    saved = Saved(source.capture())
    postgres.run(
        "CREATE SUBSCRIPTION news CONNECTION 'host=nowhere.invalid' PUBLICATION p WITH (connect = false)",
        "ALTER DATABASE shop WITH IS_TEMPLATE true",
        "ALTER DATABASE shop RESET work_mem",
        database="shop",
    )
    try:
        [line] = source.restore_into(saved, saved, target_of(postgres), Restoring(overwrite=True))
        assert "is left as `shop being restored " in line
        assert "subscription" in line
        assert postgres.rows("SHOW work_mem", "shop") == [("7MB",)]
    finally:
        [(left,)] = postgres.rows("SELECT datname FROM pg_database WHERE datname LIKE '% old'")
        postgres.run(f'ALTER DATABASE "{left}" WITH ALLOW_CONNECTIONS true')
        postgres.run("ALTER SUBSCRIPTION news SET (slot_name = NONE)", "DROP SUBSCRIPTION news", database=left)


def test_a_policy_is_named_whose_role_is_not_there_where_no_owners_are_wanted(
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    postgres.create("guarded")
    postgres.run("CREATE ROLE reader")
    statements = ("CREATE TABLE rows (x int)", "INSERT INTO rows VALUES (1)", "CREATE POLICY readers ON rows TO reader")
    postgres.run(*statements, database="guarded")
    source = source_of(postgres, "guarded", roles=False)
    saved = Saved(source.capture())
    postgres.drop("guarded")
    postgres.run("DROP ROLE reader")
    missed = source.restore_into(saved, saved, target_of(postgres), Restoring(owners=False))
    assert missed == ['CREATE POLICY readers ON public.rows TO reader: ERROR: role "reader" does not exist']
    assert postgres.rows("SELECT * FROM rows", "guarded") == [(1,)]


def test_a_rule_that_its_own_rows_break_costs_nothing_but_itself(
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    """As rows do that came while triggers were at rest, and functions that are not found any more."""
    postgres.create("bent")
    postgres.run(
        "CREATE TABLE owners (id integer PRIMARY KEY)",
        "CREATE TABLE pets (id integer PRIMARY KEY, owner integer CONSTRAINT owned REFERENCES owners)",
        "CREATE INDEX pets_by_owner ON pets (owner)",
        "SET session_replication_role = replica; INSERT INTO pets VALUES (1, 99)",
        "ALTER DATABASE bent SET work_mem TO '7MB'",
        database="bent",
    )
    source = source_of(postgres, "bent", roles=False)
    saved = Saved(source.capture())
    why = r"not ALTER TABLE ONLY public.pets ADD CONSTRAINT .*: ERROR: .*violates foreign key constraint"
    with pytest.raises(Refused, match=f"all else was restored, but {why}"):
        source.restore_into(saved, saved, target_of(postgres, **{"as": "back"}), Restoring())
    assert postgres.rows("SELECT * FROM pets", "back") == [(1, 99)]
    assert postgres.rows("SELECT to_regclass('pets_by_owner') IS NOT NULL", "back") == [(True,)]
    assert postgres.rows("SHOW work_mem", "back") == [("7MB",)]
    postgres.run("INSERT INTO pets VALUES (2, NULL)", database="bent")
    with pytest.raises(SourceError, match="violates foreign key"):
        source.restore_into(saved, saved, target_of(postgres), Restoring(overwrite=True))
    assert postgres.rows("SELECT count(*) FROM pets", "bent") == [(2,)], "what is there is not replaced by less"


def test_a_table_that_is_partitioned_by_now_gets_no_row_twice(postgres: PostgresProcess) -> None:  # noqa: F811
    """Its rows are in its partitions."""
    postgres.create("grown")
    postgres.run("CREATE TABLE events (id integer)", "INSERT INTO events VALUES (1), (2)", database="grown")
    source = source_of(postgres, "grown", roles=False)
    saved = Saved(source.capture())
    postgres.run(
        "ALTER TABLE events RENAME TO before",
        "CREATE TABLE events (id integer) PARTITION BY RANGE (id)",
        "CREATE TABLE events_all PARTITION OF events DEFAULT",
        "INSERT INTO events TABLE before",
        "CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'it fires'; END $$",
        "CREATE TRIGGER guard BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION never()",
        database="grown",
    )
    target = target_of(postgres, database="grown", table="events")
    with pytest.raises(Occupied, match=r'the table "public"\."events" in database `grown` has rows'):
        source.restore_into(saved, saved, target, Restoring())
    assert source.restore_into(saved, saved, target, Restoring(overwrite=True)) == []
    assert postgres.rows("SELECT id FROM events ORDER BY 1", "grown") == [(1,), (2,)]
    assert postgres.rows("SELECT DISTINCT tgenabled FROM pg_trigger WHERE tgname = 'guard'", "grown") == [("O",)]


def test_a_server_that_ends_idle_sessions_takes_a_restore_that_takes_longer(
    postgres: PostgresProcess,  # noqa: F811
    postgres_programs: Path,  # noqa: F811
) -> None:
    """The session that gives a database its name waits for its rows."""
    postgres.create("slow")
    postgres.run(
        "CREATE FUNCTION slowly(n integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(0.3); RETURN n; END $$",
        "CREATE TABLE kept (id integer)",
        "CREATE INDEX ON kept (slowly(id))",
        "INSERT INTO kept VALUES (1), (2), (3)",
        database="slow",
    )
    source = source_of(postgres, "slow", roles=False)
    saved = Saved(source.capture())
    with postgres_process(postgres_programs, idle_session_timeout="300ms") as hasty:
        assert source.restore_into(saved, saved, target_of(hasty), Restoring()) == []
        assert hasty.rows("SELECT count(*) FROM kept", "slow") == [(3,)]

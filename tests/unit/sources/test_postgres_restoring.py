"""PostgreSQL databases on their way back: whole or in part, under another name, beside what is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tasks.errors import BackupError, Damaged, NotFound, Occupied, Refused, SettingsError
from tasks.item import Stored
from tasks.sources.source import Restoring
from tests.contracts.memory_items import MemoryItems, Saved
from tests.postgres_content import large_objects_of, rows_of, schema_of, sequences_of
from tests.postgres_fixtures import (  # noqa: F401 - fixtures
    everything,
    postgres,
    postgres_programs,
    shared_postgres,
    source_of,
    target_of,
)
from tests.postgres_process import PostgresProcess

SMALL = (
    "CREATE TABLE people (id serial PRIMARY KEY, name text, stamped text)",
    "INSERT INTO people (name) SELECT 'Name ' || i FROM generate_series(1, 100) i",
    "CREATE TABLE pets (id integer PRIMARY KEY, owner integer REFERENCES people, kind text)",
    "INSERT INTO pets SELECT i, i, 'cat' FROM generate_series(1, 50) i",
    "CREATE INDEX pets_by_kind ON pets (kind)",
    """CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN NEW.stamped := 'by trigger'; RETURN NEW; END $$""",
    "CREATE TRIGGER stamping BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION stamp()",
    "CREATE TABLE readings (at date, value integer) PARTITION BY RANGE (at)",
    "CREATE TABLE readings_old PARTITION OF readings FOR VALUES FROM ('2020-01-01') TO ('2025-01-01')",
    "CREATE TABLE readings_new PARTITION OF readings FOR VALUES FROM ('2025-01-01') TO ('2030-01-01')",
    "INSERT INTO readings VALUES ('2024-05-05', 1), ('2026-05-05', 2)",
    "CREATE SCHEMA other",
    "CREATE TABLE other.pets (id integer)",
)


@pytest.fixture
def saved(postgres: PostgresProcess) -> Saved:  # noqa: F811
    postgres.create("small")
    postgres.run(*SMALL, database="small")
    return Saved(source_of(postgres, "small", roles=False).capture())


def restore(
    server: PostgresProcess,
    items: MemoryItems,
    *,
    overwrite: bool = False,
    chosen: Iterable[Stored] = (),
    into: str = "",
    **options: Any,
) -> list[str]:
    """With the options of the target; `into` is its `as`."""
    target = target_of(server, **options, **{"as": into})
    return source_of(server).restore_into(items, chosen or items, target, Restoring(overwrite=overwrite))


def without_name(lines: list[str], database: str) -> list[str]:
    quoted = '"' + database.replace('"', '""') + '"'
    return [line.replace(quoted, "DATABASE") for line in lines if not line.startswith(("\\connect", "-- Name: "))]


def databases(server: PostgresProcess) -> set[str]:
    return {name for (name,) in server.rows("SELECT datname FROM pg_database")}


def test_a_database_comes_back_under_another_name_beside_the_one_it_was(
    postgres: PostgresProcess,  # noqa: F811
    everything: str,  # noqa: F811
) -> None:
    source = source_of(postgres, everything)
    items = Saved(source.capture())
    missed = restore(postgres, items, into="the copy")
    assert missed == ["roles that were there already are left as they are: `app`, `odd; \"role'`, `readers`"]
    assert without_name(schema_of(postgres, "the copy"), "the copy") == without_name(
        schema_of(postgres, everything), everything
    )
    assert rows_of(postgres, "the copy") == rows_of(postgres, everything)
    assert sequences_of(postgres, "the copy") == sequences_of(postgres, everything)
    assert large_objects_of(postgres, "the copy") == large_objects_of(postgres, everything)
    target = target_of(postgres, database=everything, **{"as": "the copy"})
    assert source.examine_at(target)["tables"] == {everything: items.facts["tables"][everything]}


def test_what_is_restored_to_a_folder_can_be_loaded_by_hand_as_its_readme_says(
    postgres: PostgresProcess,  # noqa: F811
    everything: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    items = Saved(source_of(postgres, everything).capture())
    source_of(postgres).restore(items, items, tmp_path, Restoring())
    readme = (tmp_path / "README.txt").read_text()
    lines = [line.strip() for line in readme.splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in lines] == ["psql", "createdb", "cd", "pg_restore", "psql"] + [
        "pg_restore"
    ] * 2 + ["psql"]
    (folder,) = (tmp_path / "databases").iterdir()
    environment = {**os.environ, "PATH": f"{postgres.bin_folder}:{os.environ['PATH']}", "PGHOST": str(postgres.folder)}
    environment |= {"PGPORT": str(postgres.port), "PGUSER": "postgres"}
    for line in lines[1:]:
        if not line.startswith("cd "):
            command = line.replace("shop", "byhand").split()
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (line, done.stderr)
    odd = "Odd schema.with/dots.a/b \" ' ; %s -- \\ ü\n."
    expected = rows_of(postgres, everything)
    assert expected.pop(odd)
    found = rows_of(postgres, "byhand")
    assert found.pop(odd) == []  # psql can't name it in one line: the script says so
    assert "to be loaded by hand" in (folder / "rows.sql").read_text()
    assert found == expected
    assert sequences_of(postgres, "byhand") == sequences_of(postgres, everything)
    assert large_objects_of(postgres, "byhand") == large_objects_of(postgres, everything)


def test_only_the_schema_comes_back_if_so_asked(postgres: PostgresProcess, everything: str) -> None:  # noqa: F811
    items = Saved(source_of(postgres, everything, roles=False).capture())
    assert restore(postgres, items, schema_only=True, into="bare") == []
    rows = rows_of(postgres, "bare")
    assert len(rows) > 10
    assert not any(rows.values())
    assert large_objects_of(postgres, "bare") == {}
    counts = source_of(postgres).examine_at(target_of(postgres, database="bare"))["objects"]["bare"]
    expected = items.facts["objects"][everything]
    assert {**counts, "populated_views": 1} == expected


def test_one_table_goes_into_a_new_database_with_the_whole_schema(saved: Saved, postgres: PostgresProcess) -> None:  # noqa: F811
    with pytest.raises(SettingsError, match=r"`pets` may be `other\.pets` or `public\.pets`"):
        restore(postgres, saved, table="pets", into="pets only")
    missed = restore(postgres, saved, table="public.pets", into="pets only")
    assert len(missed) == 1
    assert "pets_owner_fkey" in missed[0]
    rows = rows_of(postgres, "pets only")
    assert len(rows.pop("public.pets")) == 50
    assert rows == {"public.people": [], "public.readings": [], "other.pets": []}


def test_one_table_that_a_database_has_not_is_made_there(saved: Saved, postgres: PostgresProcess) -> None:  # noqa: F811
    postgres.create("elsewhere")
    postgres.run("CREATE TABLE own (id integer)", "INSERT INTO own VALUES (1)", database="elsewhere")
    missed = restore(postgres, saved, table="readings", into="elsewhere")
    assert missed == []
    assert rows_of(postgres, "elsewhere") == {
        "public.own": ["(1)"],
        "public.readings": ["(2024-05-05,1)", "(2026-05-05,2)"],
    }
    missed = restore(postgres, saved, table="public.pets", into="elsewhere")
    assert ["people" in line for line in missed] == [True]
    assert len(rows_of(postgres, "elsewhere")["public.pets"]) == 50
    assert postgres.rows("SELECT count(*) FROM pg_indexes WHERE tablename = 'pets'", "elsewhere") == [(2,)]
    assert not any("being restored" in name for name in databases(postgres))


def test_a_table_whose_rows_do_not_fit_leaves_nothing_half_made(saved: Saved, postgres: PostgresProcess) -> None:  # noqa: F811
    postgres.create("elsewhere")
    postgres.run("CREATE TABLE own (id integer)", database="elsewhere")
    path = b"databases/small/tables/public/pets.copy"
    with pytest.raises(BackupError, match="can't load"):
        restore(postgres, changed(saved, path, b"no number\t1\tcat\n"), table="public.pets", into="elsewhere")
    assert list(rows_of(postgres, "elsewhere")) == ["public.own"]
    assert restore(postgres, saved, table="public.people", into="elsewhere") != []
    assert restore(postgres, saved, table="public.pets", into="elsewhere") == []
    assert postgres.rows("SELECT count(*) FROM pg_constraint WHERE contype = 'f'", "elsewhere") == [(1,)]


@pytest.fixture
def newer_programs(postgres_programs: Path, tmp_path: Path) -> Path:  # noqa: F811
    """Programs that do as those of PostgreSQL 17 do: whatever the server is, they set what it knows from 17 on."""
    told = subprocess.run([postgres_programs / "pg_dump", "--version"], capture_output=True, text=True, check=True)
    if int(re.findall(r"\d+", told.stdout)[0]) >= 17:
        pytest.skip("the server's own programs are such")
    folder = tmp_path / "newer"
    folder.mkdir()
    for name in ("pg_dump", "pg_dumpall", "psql", "pg_restore"):
        script = _NEWER if name == "pg_restore" else 'exec {real} "$@"\n'
        version = f"""[ "$1" = --version ] && {{ echo "{name} (PostgreSQL) 17.0"; exit; }}\n"""
        (folder / name).write_text("#!/bin/sh\n" + version + script.replace("{real}", str(postgres_programs / name)))
        (folder / name).chmod(0o755)
    return folder


_NEWER = """\
unknown='SET transaction_timeout = 0;'
for word; do case "$word" in
    --file=*) {real} "$@" && exec sed -i "s/^SET lock_timeout = 0;$/&\\n$unknown/" "${word#--file=}" ;;
    --exit-on-error|--single-transaction) last=yes ;;
esac; done
echo 'pg_restore: while INITIALIZING:' >&2
said='ERROR:  unrecognized configuration parameter "transaction_timeout"'
echo "pg_restore: error: could not execute query: $said" >&2
echo "Command was: $unknown" >&2
[ -z "$last" ] || exit 1
{real} "$@"
echo 'pg_restore: warning: errors ignored on restore: 1' >&2
exit 1
"""


def test_programs_of_17_restore_into_a_server_that_is_older(
    postgres: PostgresProcess,  # noqa: F811
    everything: str,  # noqa: F811
    saved: Saved,
    newer_programs: Path,
) -> None:
    items = Saved(source_of(postgres, everything, roles=False).capture())
    assert restore(postgres, items, into="the copy", programs=newer_programs) == []
    assert rows_of(postgres, "the copy") == rows_of(postgres, everything)
    assert large_objects_of(postgres, "the copy") == large_objects_of(postgres, everything)
    assert len(schema_of(postgres, "the copy")) == len(schema_of(postgres, everything))
    postgres.create("elsewhere")
    postgres.run("CREATE TABLE own (id integer)", database="elsewhere")
    assert restore(postgres, saved, table="readings", into="elsewhere", programs=newer_programs) == []
    assert len(rows_of(postgres, "elsewhere")["public.readings"]) == 2
    # What else fails still counts.
    path = b"databases/small/schema.dump"
    broken = changed(saved, path, saved[path].content.replace(b"CREATE TABLE", b"CREATE TABEL"))
    with pytest.raises(BackupError, match='syntax error at or near "TABEL"'):
        restore(postgres, broken, into="broken", programs=newer_programs)
    assert "broken" not in databases(postgres)


def test_the_schema_of_one_table_alone_is_refused_before_anything_is_replaced(
    saved: Saved,
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    before = rows_of(postgres, "small")
    with pytest.raises(SettingsError, match="leave out `table`, or `schema_only`"):
        restore(postgres, saved, table="people", schema_only=True, overwrite=True)
    assert rows_of(postgres, "small") == before


def test_the_rows_of_one_table_are_replaced_only_if_told_to(saved: Saved, postgres: PostgresProcess) -> None:  # noqa: F811
    original = rows_of(postgres, "small")
    postgres.run("UPDATE pets SET kind = 'dog'", database="small")
    with pytest.raises(Occupied, match=r'table "public"\."pets" in database `small` has rows'):
        restore(postgres, saved, table="public.pets")
    assert rows_of(postgres, "small") != original
    assert restore(postgres, saved, table="public.pets", overwrite=True) == []
    assert rows_of(postgres, "small") == original


def test_a_table_that_was_emptied_gets_its_rows_back_with_its_triggers_at_rest(
    saved: Saved,
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    original = rows_of(postgres, "small")
    postgres.run("DELETE FROM pets", "DELETE FROM people", "SELECT setval('people_id_seq', 3)", database="small")
    postgres.run(
        "CREATE TRIGGER second BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION stamp()", database="small"
    )
    postgres.run("ALTER TABLE people DISABLE TRIGGER second", database="small")
    assert restore(postgres, saved, chosen=[saved[b"databases/small/tables/public/people.copy"]]) == []
    assert rows_of(postgres, "small")["public.people"] == original["public.people"]
    states = postgres.rows("SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1", "small")
    assert states == [("second", "D"), ("stamping", "O")]
    assert postgres.rows("SELECT nextval('people_id_seq')", "small") == [(101,)]


def test_a_table_that_others_refer_to_is_not_replaced_and_nothing_is_lost(
    saved: Saved,
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    original = rows_of(postgres, "small")
    with pytest.raises(Occupied, match="foreign key constraint; restore it into another database") as raised:
        restore(postgres, saved, table="people", overwrite=True)
    assert "\n" not in str(raised.value)
    assert rows_of(postgres, "small") == original


def test_a_database_that_is_in_use_is_replaced_as_a_whole(saved: Saved, postgres: PostgresProcess) -> None:  # noqa: F811
    original = rows_of(postgres, "small")
    postgres.run("CREATE TABLE later (id integer)", "DELETE FROM pets", database="small")
    before = databases(postgres)
    with postgres.connect("small") as user:
        restore(postgres, saved, overwrite=True)
        with pytest.raises(psycopg.OperationalError):
            user.execute("SELECT 1")
    assert rows_of(postgres, "small") == original
    assert databases(postgres) == before


def test_nothing_is_begun_where_one_of_several_databases_has_data_already(
    saved: Saved,
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    postgres.create("another")
    both = Saved(source_of(postgres, "another", "small", roles=False).capture())
    postgres.drop("another")
    before = databases(postgres)
    with pytest.raises(Occupied, match="database `small` has data already"):
        restore(postgres, both)
    assert databases(postgres) == before
    assert list(saved)


def test_what_a_restore_left_that_was_cut_off_is_told(saved: Saved, postgres: PostgresProcess) -> None:  # noqa: F811
    postgres.create("shop being restored 0123abcd")
    (missed,) = restore(postgres, saved, into="new")
    assert missed.startswith("the database `shop being restored 0123abcd` is left from a restore that was cut off")


def changed(saved: Saved, path: bytes, content: bytes) -> MemoryItems:
    return MemoryItems(item._replace(content=content) if item.entry.path == path else item for item in saved)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (b"databases/small/schema.dump", b""),
        (b"databases/small/schema.dump", b"PGDMP rubbish"),
        (b"databases/small/tables/public/people.copy", b"1\tone\t\\N\n2\ttwo"),
        (b"databases/small/tables/public/people.copy", b"not a number\tone\t\\N\n"),
        (b"databases/small/database.json", b"{}"),
    ],
)
def test_a_restore_that_fails_leaves_everything_as_it_was(
    saved: Saved,
    postgres: PostgresProcess,  # noqa: F811
    path: bytes,
    content: bytes,
) -> None:
    before, rows = databases(postgres), rows_of(postgres, "small")
    for into in ("new", ""):
        with pytest.raises(BackupError) as raised:
            restore(postgres, changed(saved, path, content), overwrite=True, into=into)
        assert "\n" not in str(raised.value)
    assert databases(postgres) == before
    assert rows_of(postgres, "small") == rows


def test_a_short_table_is_damage_and_not_a_smaller_table(saved: Saved, postgres: PostgresProcess) -> None:  # noqa: F811
    path = b"databases/small/tables/public/pets.copy"
    cut = changed(saved, path, saved[path].content[:-3])
    with pytest.raises(Damaged):
        restore(postgres, cut, into="new")


def test_a_database_of_a_newer_server_is_refused_by_an_older_one(saved: Saved, postgres: PostgresProcess) -> None:  # noqa: F811
    path = b"databases/small/database.json"
    document = json.loads(saved[path].content)
    document["database"]["major"] = 99
    newer = changed(saved, path, json.dumps(document).encode())
    with pytest.raises(Refused, match=r"comes from PostgreSQL 99 .* restore into version 99 or newer"):
        restore(postgres, newer, into="new")


def test_what_the_snapshot_has_not_is_said_with_what_it_has(saved: Saved, postgres: PostgresProcess) -> None:  # noqa: F811
    with pytest.raises(SettingsError, match="does not hold `shop`, but `small`"):
        restore(postgres, saved, database="shop")
    with pytest.raises(NotFound, match=r"no table `cats`; it has `other\.pets`, `public\.people`"):
        restore(postgres, saved, table="cats")


def test_one_who_is_no_superuser_restores_what_belongs_to_them_then(
    postgres: PostgresProcess,  # noqa: F811
    everything: str,  # noqa: F811
    saved: Saved,
) -> None:
    postgres.run("CREATE ROLE restorer LOGIN CREATEDB")
    try:
        target = target_of(postgres, url=postgres.url(user="restorer"), **{"as": "theirs"})
        missed = source_of(postgres).restore_into(saved, saved, target, Restoring())
        assert [line.partition(":")[0] for line in missed] == ["owners and privileges"]
        assert rows_of(postgres, "theirs") == rows_of(postgres, "small")
        postgres.run("CREATE DATABASE given OWNER restorer", "ALTER ROLE restorer NOCREATEDB")
        target = target_of(postgres, url=postgres.url(user="restorer"), **{"as": "given"})
        source_of(postgres).restore_into(saved, saved, target, Restoring())
        assert rows_of(postgres, "given") == rows_of(postgres, "small")
        target = target_of(postgres, url=postgres.url(user="restorer"), **{"as": "not given"})
        with pytest.raises(Refused, match="permission denied to create database; give this user the right"):
            source_of(postgres).restore_into(saved, saved, target, Restoring())
    finally:
        for name in ("theirs", "given"):
            postgres.drop(name)
        postgres.run("DROP ROLE restorer")


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_JP", "SQL_ASCII"])
def test_bytes_stay_what_they_were_in_any_encoding(encoding: str, postgres: PostgresProcess) -> None:  # noqa: F811
    name, text = {"LATIN1": ("Käse", "Würze \xa4"), "EUC_JP": ("表", "日本語ー"), "SQL_ASCII": ("Käse", "x")}[encoding]
    postgres.run(f"CREATE DATABASE encoded ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    postgres.run(f'CREATE TABLE "{name}" ("{name}" text PRIMARY KEY)', database="encoded")
    into = f'INSERT INTO "{name}" VALUES'
    postgres.run(f"{into} ('{text}'), ('{text}2')", database="encoded")
    if encoding == "SQL_ASCII":
        postgres.run(f"{into} (convert_from('\\xfffe80', 'SQL_ASCII'))", database="encoded")
    source = source_of(postgres, "encoded", roles=False)
    saved = Saved(source.capture())
    python = {"LATIN1": "latin-1", "EUC_JP": "euc_jp", "SQL_ASCII": "ascii"}[encoding]
    content = saved[b"databases/encoded/tables/public/" + name.encode() + b".copy"].content
    assert content.startswith(text.encode(python) + b"\n")
    assert (b"\xff\xfe\x80\n" in content) == (encoding == "SQL_ASCII")
    assert restore(postgres, saved, into="again") == []
    target = target_of(postgres, database="encoded", **{"as": "again"})
    assert source.examine_at(target)["tables"] == saved.facts["tables"]
    assert postgres.rows("SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'again'") == [
        (encoding,)
    ]

"""Put the rows of some tables into a database that holds other things too."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import TO_OVERWRITE, BackupError, Occupied
from tasks.item import Stored
from tasks.sources.postgresql import in_work
from tasks.sources.postgresql.catalogue import Table, full_name, literal, quoted
from tasks.sources.postgresql.child import Child
from tasks.sources.postgresql.filling import Filling
from tasks.sources.postgresql.loading import load_table

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

_PIECE = 1 << 20
_TRIGGERS = """
SELECT tgname, tgenabled FROM pg_catalog.pg_trigger
WHERE tgrelid = %s::regclass AND NOT tgisinternal AND tgenabled <> 'D'
"""
_OWNED = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_class c ON c.oid = d.objid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE d.refobjid = %s::regclass AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')
  AND c.relkind = 'S'
"""
_UNFINISHED = "geometra-backup is restoring this table"
"""How the comment of one begins until its rows, indexes and rules are there, whoever is killed."""
_COMMENT = "SELECT pg_catalog.obj_description(pg_catalog.to_regclass(%s), 'pg_class')"
_ENABLE = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


def mark(run: str) -> str:
    """The comment that a restore of that id gives."""
    return f"{_UNFINISHED} (run {run})" if run else _UNFINISHED


def drop_unfinished(connection: Connection, filling: Filling, into: str, ours: str, *, overwrite: bool) -> None:
    """What a restore that was killed has left of the tables that the rows need: it must not pass for them. Raises
    `Occupied` where one is running, or `overwrite` does not allow that and it is not marked as `ours`."""
    names = [full_name(*each) for each in _needed(filling)]
    with filling.server.explained(f"can't look into `{into}`"):
        comments = {name: _comment(connection, name) or "" for name in names}
        left = [name for name, comment in comments.items() if comment.startswith(_UNFINISHED)]
        for name in left:
            if in_work.is_held(connection, _locked(into, name)):
                raise _running(into, name)
    if others := [name for name in left if not overwrite and comments[name] != ours]:
        raise Occupied(
            f"the table {others[0]} in database `{into}` is left from a restore that was cut off: drop it, or"
            f" {TO_OVERWRITE}"
        )
    if left:
        with filling.server.explained(f"database `{into}`: can't drop what a restore has left"):
            connection.execute(f"DROP TABLE {', '.join(left)}".encode())


def hold_tables(connection: Connection, filling: Filling, into: str, tables: Iterable[tuple[str, str]]) -> None:
    """For us to make them, until the connection ends. Raises `Occupied` where another restore does."""
    for name in (full_name(*each) for each in tables):
        with filling.server.explained(f"can't look into `{into}`"):
            if not in_work.hold(connection, _locked(into, name)):
                raise _running(into, name)


def _locked(into: str, table: str) -> str:
    return f"{into} {table}"


def _running(into: str, table: str) -> Occupied:
    return Occupied(f"another restore is filling the table {table} in database `{into}`: let it end, or end it")


def missing_tables(connection: Connection, filling: Filling) -> list[tuple[str, str]]:
    """Those that the rows need and that are not there, the ones they are partitions of before them."""
    return [each for each in _needed(filling) if not _exists(connection, full_name(*each))]


def _needed(filling: Filling) -> Iterable[tuple[str, str]]:
    needed: dict[tuple[str, str], None] = {}
    for table, _ in filling.database.tables():
        needed.update(dict.fromkeys((*reversed(table.parents), (table.schema, table.name))))
    return needed


def load_existing(connection: Connection, filling: Filling, into: str, *, overwrite: bool) -> None:
    """All chosen tables in one transaction, so that there is either what was there or what was restored. Raises
    `Occupied` where one has rows and `overwrite` does not allow to replace them."""
    server = filling.server
    tables = filling.database.tables()
    with server.explained(f"database `{into}`: can't restore the table"):
        connection.execute("BEGIN")
        named = [_itself(connection, table) for table, _ in tables]
        occupied = [name for name in named if _has_rows(connection, name)]
        if occupied and not overwrite:
            raise Occupied(
                f"the table {occupied[0].removeprefix('ONLY ')} in database `{into}` has rows: restore into another"
                f" database (`as`), or {TO_OVERWRITE}"
            )
        if occupied:
            connection.execute(f"TRUNCATE {', '.join(occupied)}".encode())
    for table, item in tables:
        with server.explained(f"database `{into}`: can't load {table.full_name}"):
            _load(connection, filling, table, item)
    with server.explained(f"database `{into}`: can't restore the table"):
        _raise_sequences(connection, filling)
        connection.execute("COMMIT")
        for table, _ in tables:
            connection.execute(f"ANALYZE {table.full_name}".encode())


def make_tables(
    filling: Filling, scratch: str, into: str, missing: list[tuple[str, str]], *, marked: str, overwrite: bool
) -> None:
    """Bring the definitions of tables that are `missing` in `into` over from `scratch`, a database with the whole
    schema, together with all that belongs to them; then their rows."""
    server = filling.server
    with tempfile.TemporaryDirectory(prefix="geometra-restore-") as folder:
        archive = Path(folder) / "tables.dump"
        command = [filling.programs.path("pg_dump"), "--format=custom", "--no-password", f"--file={archive}"]
        command += [f"--table={full_name(*each)}" for each in missing]
        dumping = Child(server, command, server.environment(scratch), doing=f"can't read the schema of {missing[0][1]}")
        try:
            while dumping.read(_PIECE):
                pass
        finally:
            dumping.stop()
        with closing(server.connect(into)) as connection, server.explained(f"can't make a schema in `{into}`"):
            for schema in dict.fromkeys(schema for schema, _ in missing):
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}".encode())
        names = [full_name(*each) for each in missing]
        with closing(server.connect(scratch)) as connection, server.explained(f"can't look into `{scratch}`"):
            comments = {name: _comment(connection, name) for name in names}
        filling.define(into, archive, also="".join(_commented(name, marked) for name in names))
        try:
            with closing(server.connect(into)) as connection:
                load_existing(connection, filling, into, overwrite=overwrite)
            filling.missed += filling.restore(into, archive, "--section=post-data", strict=False)
            with closing(server.connect(into)) as connection, server.explained(f"can't finish {names[0]}"):
                connection.execute("".join(_commented(name, comments[name]) for name in names).encode())
        except BaseException:
            # Without its indexes and rules it must not pass for the table.
            with suppress(BackupError), closing(server.connect(into)) as connection, server.explained("can't drop"):
                connection.execute(f"DROP TABLE IF EXISTS {', '.join(names)}".encode())
            raise


def _load(connection: Connection, filling: Filling, table: Table, item: Stored) -> None:
    """With its triggers at rest: the rows are as they left them."""
    triggers = connection.execute(_TRIGGERS, (table.full_name,)).fetchall()
    change = f"ALTER TABLE {_itself(connection, table)}"
    for name, _ in triggers:
        connection.execute(f"{change} DISABLE TRIGGER {quoted(name)}".encode())
    encoding = filling.database.document.database.encoding
    load_table(connection, filling.items, item, table.load(encoding))
    for name, state in triggers:
        connection.execute(f"{change} {_ENABLE[state]} TRIGGER {quoted(name)}".encode())


def _raise_sequences(connection: Connection, filling: Filling) -> None:
    """What gives the tables their next numbers must not give one that came back."""
    values = {each.full_name: each for each in filling.database.document.sequences}
    for table, _ in filling.database.tables():
        for owned in connection.execute(_OWNED, (table.full_name,)).fetchall():
            value = values.get(full_name(*owned))
            if value and value.called:
                connection.execute(
                    f"SELECT pg_catalog.setval({literal(value.full_name)}, {value.value})"  # noqa: S608 - quoted
                    f" FROM {value.full_name} WHERE last_value < {value.value}".encode()
                )


def _itself(connection: Connection, table: Table) -> str:
    """The table without those that inherit from it; with them, where it is partitioned now: they have its rows."""
    query = "SELECT relkind FROM pg_catalog.pg_class WHERE oid = %s::regclass"
    row = connection.execute(query, (table.full_name,)).fetchone()
    return table.full_name if row and row[0] == "p" else f"ONLY {table.full_name}"


def _has_rows(connection: Connection, name: str) -> bool:
    return connection.execute(f"SELECT FROM {name} LIMIT 1".encode()).fetchone() is not None


def _comment(connection: Connection, name: str) -> str | None:
    row = connection.execute(_COMMENT, (name,)).fetchone()
    return row[0] if row else None


def _commented(name: str, comment: str | None) -> str:
    return f"COMMENT ON TABLE {name} IS {'NULL' if comment is None else literal(comment)};\n"


def _exists(connection: Connection, name: str) -> bool:
    row = connection.execute("SELECT pg_catalog.to_regclass(%s) IS NOT NULL", (name,)).fetchone()
    return bool(row and row[0])

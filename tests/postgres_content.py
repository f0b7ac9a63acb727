"""All that a PostgreSQL server holds, as PostgreSQL itself shows it: to compare two servers exactly."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection

from psycopg import sql

from tests.postgres_process import PostgresProcess


def roles_of(server: PostgresProcess) -> list[str]:
    """With their passwords, memberships and settings; but for the one that every server is made with."""
    printed = _printed(server, "postgres", "pg_dumpall", "--roles-only")
    return [line for line in printed if not line.startswith("ALTER ROLE postgres WITH")]


def schema_of(server: PostgresProcess, database: str) -> list[str]:
    """Everything but rows: the database's own properties, owners, rights and comments too."""
    return _printed(server, database, "pg_dump", "--create", "--section=pre-data", "--section=post-data")


def rows_of(server: PostgresProcess, database: str, *, but: Collection[str] = ()) -> dict[str, list[str]]:
    """The rows of every table and materialized view, sorted as texts; those of partitions as their table's."""
    query = """
        SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND relkind IN ('r', 'p', 'm')
          AND NOT relispartition AND relispopulated
    """
    found = {}
    with server.connect(database) as connection:
        for name in connection.execute(query).fetchall():
            if name[1] not in but:
                statement = sql.SQL('SELECT "whole row"::text FROM {} AS "whole row"').format(sql.Identifier(*name))
                found[".".join(name)] = sorted(row for (row,) in connection.execute(statement))
    return found


def sequences_of(server: PostgresProcess, database: str) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    with server.connect(database) as connection:
        for name in connection.execute("SELECT schemaname, sequencename FROM pg_sequences ORDER BY 1, 2").fetchall():
            statement = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(*name))
            found.append((*name, connection.execute(statement).fetchone()))
    return found


def large_objects_of(server: PostgresProcess, database: str) -> dict[int, bytes]:
    return dict(server.rows("SELECT oid, lo_get(oid) FROM pg_largeobject_metadata", database))


def _printed(server: PostgresProcess, database: str, program: str, *options: str) -> list[str]:
    environment = {**os.environ, "PGHOST": str(server.folder), "PGPORT": str(server.port), "PGUSER": "postgres"}
    said = subprocess.run(
        [server.bin_folder / program, *options],
        env={**environment, "PGDATABASE": database},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in said.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]

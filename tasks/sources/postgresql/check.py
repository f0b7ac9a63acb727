"""What would go wrong with a server tonight, found by trying, and without changing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tasks.errors import BackupError, Refused, Unavailable
from tasks.sources.postgresql import catalogue
from tasks.sources.postgresql.capture import Manner
from tasks.sources.postgresql.databases import invalid_databases
from tasks.sources.postgresql.roles import can_read_passwords
from tasks.sources.postgresql.server import Server
from tasks.sources.source import Problem

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

_NAMED = 5

# What COPY and pg_dump would be refused: a right on the table, on its schema, or on all of its rows.
_UNREADABLE = """
SELECT n.nspname, c.relname,
       NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS schema,
       NOT pg_catalog.has_table_privilege(c.oid, 'SELECT') AS rows,
       pg_catalog.row_security_active(c.oid) AS hidden
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY(%s) AND (
    NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE') OR NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')
    OR pg_catalog.row_security_active(c.oid)
)
ORDER BY 1, 2
"""
_HIDDEN_OBJECTS = """
SELECT count(*) FROM pg_catalog.pg_largeobject_metadata m
WHERE NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE') AND NOT EXISTS (
    SELECT FROM pg_catalog.aclexplode(m.lomacl) a
    WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE'))
)
"""

# What `pg_dump` leaves out, or leaves without its options, for one who is no superuser.
_HIDDEN_MAPPINGS = "SELECT count(*) FROM pg_catalog.pg_user_mappings WHERE umoptions IS NULL"


def server_problems(connection: Connection, manner: Manner) -> Iterator[Problem]:
    user = connection.info.user
    if manner.roles and not can_read_passwords(connection):
        yield Problem(
            f"`{user}` may not read the passwords of roles: roles are kept without them",
            "set them anew after a restore, or capture as a superuser",
            fatal=False,
        )
    for name in invalid_databases(connection):
        yield Problem(
            f"the database `{name}` is invalid, as a DROP DATABASE was cut off: it is not captured",
            "drop it",
            fatal=False,
        )


def database_problems(server: Server, name: str, manner: Manner) -> Iterator[Problem]:
    try:
        with closing(server.connect(name)) as connection, server.explained(f"can't look into the database `{name}`"):
            yield from _rights(connection, name, manner)
            yield from _weaknesses(connection, name)
    except BackupError as error:
        yield problem_of(error)


def problem_of(error: BackupError) -> Problem:
    what, _, advice = str(error).partition("; ")
    usual: dict[type[BackupError], str] = {
        Unavailable: "is the server up, and are host and port right in `url`?",
        Refused: "see the user's rights and the server's pg_hba.conf",
    }
    return Problem(what, advice or usual.get(type(error), "mend what it names"))


def _rights(connection: Connection, name: str, manner: Manner) -> Iterator[Problem]:
    user = catalogue.quoted(connection.info.user)
    found = catalogue.relations(connection)
    unreadable = connection.execute(_UNREADABLE, ([each.oid for each in found],)).fetchall()
    denied = [(schema, table) for schema, table, no_usage, no_select, _ in unreadable if no_usage or no_select]
    if denied:
        yield Problem(
            f"database `{name}`: {connection.info.user} may not read {_some(denied)}",
            f"as a superuser: GRANT pg_read_all_data TO {user}"
            if connection.info.server_version >= 140000
            else f"as their owner: GRANT USAGE ON SCHEMA ..., GRANT SELECT ON ALL TABLES IN SCHEMA ... TO {user}",
        )
    if hidden := [(schema, table) for schema, table, _, _, row_security in unreadable if row_security]:
        yield Problem(
            f"database `{name}`: row security hides rows of {_some(hidden)} from {connection.info.user}",
            f"as a superuser: ALTER ROLE {user} BYPASSRLS",
        )
    if manner.large_objects and (objects := connection.execute(_HIDDEN_OBJECTS).fetchone()) and objects[0]:
        yield Problem(
            f"database `{name}`: {objects[0]} large objects can't be read by {connection.info.user}",
            "capture as a superuser or as their owner, or set `large_objects = false`",
        )


def _weaknesses(connection: Connection, name: str) -> Iterator[Problem]:
    found = catalogue.relations(connection)
    mappings = connection.execute(_HIDDEN_MAPPINGS).fetchone()
    unkept = {
        "subscriptions": catalogue.object_counts(connection).get("subscriptions", 0),
        "the options of user mappings": mappings[0] if mappings else 0,
    }
    if connection.info.parameter_status("is_superuser") == "off" and any(unkept.values()):
        what = " and ".join(f"{what} ({count})" for what, count in unkept.items() if count)
        yield Problem(
            f"database `{name}`: {what} are not kept, as {connection.info.user} is no superuser",
            "capture as one, or keep them elsewhere",
            fatal=False,
        )
    standby = connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()
    unlogged = [(each.schema, each.name) for each in found if each.unlogged and each.kind == "r"]
    if standby and standby[0] and unlogged:
        yield Problem(
            f"database `{name}` is a standby's, where unlogged tables have no rows: {_some(unlogged)}",
            "capture the primary, if their rows matter",
            fatal=False,
        )
    tables = catalogue.tables(connection, found, plain_order=False)
    keyless = [(table.schema, table.name) for table in tables if not table.key]
    if keyless:
        yield Problem(
            f"database `{name}`: without a primary key, more is stored each night of {_some(keyless)} than changed",
            "add a primary key where a table is large and its rows are updated",
            fatal=False,
        )


def _some(tables: Sequence[tuple[str, str]]) -> str:
    shown = ", ".join(f"`{schema}.{table}`" for schema, table in tables[:_NAMED])
    return shown if len(tables) <= _NAMED else f"{shown} and {len(tables) - _NAMED} more"

"""Databases of a target server: whether one may be written to, making one, and giving it its properties."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tasks.errors import TO_OVERWRITE, Occupied, Unavailable
from tasks.sources.postgresql import catalogue
from tasks.sources.postgresql.catalogue import literal, quoted
from tasks.sources.postgresql.databases import Database, sorting, sorting_rules
from tasks.sources.postgresql.server import Server

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

_LISTS = frozenset(
    "search_path temp_tablespaces session_preload_libraries local_preload_libraries shared_preload_libraries"
    " unix_socket_directories".split()
)
"""Variables whose stored value is a list of quoted names."""
_IN_USE = "55006"
_DISCONNECT = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = %s"
_KIND = """
SELECT pg_catalog.pg_encoding_to_char(encoding), coalesce(datcollate, ''), coalesce(datctype, ''), to_jsonb(d)
FROM pg_catalog.pg_database d WHERE datname = %s
"""
_PROVIDERS = {"i": "ICU", "b": "PostgreSQL"}
_PASSING, _OLD = " being restored ", " old"
_SECONDS = 30.0


def maintenance(server: Server, but: str) -> Connection:
    """A connection to some database that is not the named one."""
    return server.connect(next(name for name in (server.database, "postgres", "template1") if name != but))


def exists(connection: Connection, database: str) -> bool:
    found = connection.execute("SELECT FROM pg_catalog.pg_database WHERE datname = %s", (database,))
    return found.fetchone() is not None


def holds_anything(server: Server, database: str) -> bool:
    """Whether there is anything in it that a new database has not."""
    with closing(server.connect(database)) as connection, server.explained(f"can't look into `{database}`"):
        counts = catalogue.object_counts(connection)
        large = connection.execute("SELECT FROM pg_catalog.pg_largeobject_metadata LIMIT 1").fetchone()
    return large is not None or counts.pop("schemas", 0) > 1 or bool(counts)


def otherwise(connection: Connection, database: str, like: Database) -> tuple[str, str]:
    """How a database that is there encodes, and how it sorts, where that is not as the captured one did; else ""."""
    row = connection.execute(_KIND, (database,)).fetchone()
    encoding, collate, ctype, everything = row or ("", "", "", {})
    provider, locale = sorting(everything)
    sorts = [collate, ctype, *(() if provider == "c" else (f"{locale} of {_PROVIDERS.get(provider, provider)}",))]
    rules = sorting_rules(everything)
    sorts += [f"with the rules {rules}"] if rules else []
    alike = (collate, ctype, provider, locale, rules) == (
        *(like.collate, like.ctype, like.provider, like.locale, like.rules),
    )
    return ("" if encoding == like.encoding else encoding), "" if alike else ", ".join(sorts)


def is_superuser(connection: Connection) -> bool:
    return connection.info.parameter_status("is_superuser") == "on"


def temporary_name(database: str) -> str:
    return f"{passing_beginning(database)}{secrets.token_hex(4)}"


def passing_beginning(database: str) -> str:
    """How all that `temporary_name` makes of this begin."""
    return f"{database.encode()[:30].decode(errors='ignore')}{_PASSING}"


def left_over(connection: Connection) -> list[str]:
    """The databases that `temporary_name` named."""
    found = connection.execute("SELECT datname FROM pg_catalog.pg_database ORDER BY 1").fetchall()
    return [name for (name,) in found if re.fullmatch(f".*{_PASSING}[0-9a-f]{{8}}( old)?", name, re.DOTALL)]


def create(connection: Connection, name: str, like: Database, *, tablespaces: bool) -> None:
    """An empty database that sorts and encodes as the captured one did."""
    parts = [f"CREATE DATABASE {quoted(name)} TEMPLATE template0 ENCODING {literal(like.encoding)}"]
    if like.collate:
        parts.append(f"LC_COLLATE {literal(like.collate)} LC_CTYPE {literal(like.ctype)}")
    if like.provider == "i":
        parts.append(f"LOCALE_PROVIDER icu ICU_LOCALE {literal(like.locale)}")
    if like.rules:
        parts.append(f"ICU_RULES {literal(like.rules)}")
    if like.provider == "b":
        parts.append(f"LOCALE_PROVIDER builtin BUILTIN_LOCALE {literal(like.locale)}")
    if tablespaces and like.tablespace != "pg_default":
        parts.append(f"TABLESPACE {quoted(like.tablespace)}")
    connection.execute(" ".join(parts).encode())


def drop(connection: Connection, name: str) -> None:
    """Whoever uses it."""
    force = " WITH (FORCE)" if connection.info.server_version >= 130000 else ""
    connection.execute(f"DROP DATABASE IF EXISTS {quoted(name)}{force}".encode())


def drop_left(connection: Connection, name: str) -> bool:
    """What a restore has left that was cut off, with the programs of it that go on; not what it was to replace. False
    where it can't be."""
    import psycopg

    if name.endswith(_OLD):
        return False
    try:
        drop(connection, name)
    except psycopg.Error:
        if connection.broken:
            raise
        return False
    return True


def put_in_place(connection: Connection, made: str, name: str, *, replace: bool) -> str:
    """Give the database `made` its name, at once: whoever is killed, there is one of that name. What had it before is
    dropped then; why it can't be, where it can't, such as for a subscription in it."""
    import psycopg

    old = f"{temporary_name(name)}{_OLD}"
    _rename(connection, [*([(name, old)] if replace else []), (made, name)])
    if replace:
        try:
            connection.execute(f"ALTER DATABASE {quoted(old)} WITH IS_TEMPLATE false".encode())
            drop(connection, old)
        except psycopg.Error as error:
            if connection.broken:
                raise
            return f"`{name}` was replaced, and what it was is left as `{old}`: {error.diag.message_primary}; drop it"
    return ""


def _rename(connection: Connection, names: list[tuple[str, str]]) -> None:
    """All or none. Those who are connected are disconnected; who comes meanwhile waits for the end."""
    import psycopg

    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            with connection.transaction():
                for name, new in names:
                    connection.execute(_DISCONNECT, (name,))
                    connection.execute(f"ALTER DATABASE {quoted(name)} RENAME TO {quoted(new)}".encode())
            return
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation) as error:
            raise Occupied(
                f"the database `{names[-1][1]}` was made by someone else meanwhile, and is left as it is: restore under"
                f" another name (`as`), or {TO_OVERWRITE}"
            ) from error
        except psycopg.Error as error:
            if error.sqlstate != _IN_USE:
                raise
            if time.monotonic() > deadline:
                used = names[0][0]
                raise Unavailable(f"the database `{used}` is in use and can't be renamed; stop what uses it") from error
        time.sleep(0.05)


def properties(name: str, of: Database, *, owners: bool) -> Iterator[str]:
    """The statements that give the database `name` the properties of the captured one."""
    database = quoted(name)
    if owners:
        yield f"ALTER DATABASE {database} OWNER TO {quoted(of.owner)}"
        if of.privileges is not None:
            yield f"REVOKE ALL ON DATABASE {database} FROM PUBLIC"
            yield f"REVOKE ALL ON DATABASE {database} FROM {quoted(of.owner)}"
            for role, privilege, grantable in of.privileges:
                to = "PUBLIC" if role is None else quoted(role)
                yield f"GRANT {privilege} ON DATABASE {database} TO {to}{' WITH GRANT OPTION' if grantable else ''}"
    if of.comment:
        yield f"COMMENT ON DATABASE {database} IS {literal(of.comment)}"
    if of.connection_limit != -1:
        yield f"ALTER DATABASE {database} CONNECTION LIMIT {of.connection_limit:d}"
    for role, variable, value in of.variables:
        whose = f"DATABASE {database}" if role is None else f"ROLE {quoted(role)} IN DATABASE {database}"
        yield f"ALTER {whose} SET {variable_name(variable)} TO {variable_value(variable, value)}"


def variable_name(name: str) -> str:
    """Of an extension, it has a dot."""
    return ".".join(map(quoted, name.split(".")))


def variable_value(name: str, value: str) -> str:
    if name.lower() not in _LISTS:
        return literal(value)
    found = re.findall(r'"((?:[^"]|"")*)"|([^\s,"]+)', value)
    return ", ".join(literal(inner.replace('""', '"') or plain) for inner, plain in found) or "''"


def each(connection: Connection, statements: Iterator[str], failed: Callable[[str], None]) -> None:
    """Those that fail are told: the data is there without them."""
    import psycopg

    for statement in statements:
        try:
            connection.execute(statement.encode())
        except psycopg.Error as error:
            if connection.broken:
                raise
            failed(f"{statement.partition(' SET ')[0]}: {error.diag.message_primary}")

"""Roles and tablespaces: the part of a server that belongs to no database, as `pg_dumpall` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tasks.errors import BackupError
from tasks.sources.postgresql.child import Child
from tasks.sources.postgresql.programs import Programs
from tasks.sources.postgresql.server import Server

if TYPE_CHECKING:
    import psycopg

_PIECE = 1 << 16
_NAME = r'("(?:[^"]|"")*"|[^\s";]+)'
_ABOUT = re.compile(rf"\s*(?:CREATE ROLE|ALTER ROLE|COMMENT ON ROLE|SECURITY LABEL .*? ON ROLE) {_NAME}", re.DOTALL)
_TOKEN = re.compile(r"""--[^\n]*|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|;""", re.DOTALL)
_META = re.compile(rb"^\\(?:un)?restrict [0-9A-Za-z]+$")


def roles(server: Server, programs: Programs, *, passwords: bool) -> bytes:
    """SQL that makes the roles. Raises what `Child` raises."""
    return _all(server, programs, "--roles-only", *([] if passwords else ["--no-role-passwords"]))


def tablespaces(server: Server, programs: Programs) -> bytes:
    return _all(server, programs, "--tablespaces-only")


def can_read_passwords(connection: psycopg.Connection[Any]) -> bool:
    """Managed services keep them to themselves."""
    row = connection.execute("SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')").fetchone()
    return bool(row and row[0])


def _all(server: Server, programs: Programs, *what: str) -> bytes:
    database = server.database
    environment = server.environment(database)
    command = [programs.path("pg_dumpall"), "--no-password", f"--database={_conninfo(database)}", *what]
    child = Child(server, command, environment, doing="can't read the roles: pg_dumpall fails", patience=600)
    printed = bytearray()
    try:
        while piece := child.read(_PIECE):
            printed += piece
    finally:
        child.stop()
    # A random word each time, meant for psql's own protection while it reads from elsewhere.
    return b"\n".join(line for line in bytes(printed).split(b"\n") if not _META.match(line))


def _conninfo(database: str) -> str:
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def statements(script: str) -> Iterator[str]:
    """The statements of a script, without comments and meta-commands."""
    current: list[str] = []
    at = 0
    for token in _TOKEN.finditer(script):
        current.append(script[at : token.start()])
        at = token.end()
        text = token[0]
        if text == ";":
            if statement := "".join(current).strip():
                yield statement
            current = []
        elif not text.startswith("--"):
            current.append(text)
    if statement := "".join([*current, script[at:]]).strip():
        yield statement


def role_of(statement: str) -> str | None:
    """The role that a statement makes or changes; None for one that does something else, such as granting."""
    match = _ABOUT.match(statement)
    if not match:
        return None
    name = match[1]
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def apply_roles(server: Server, connection: psycopg.Connection[Any], script: str) -> list[str]:
    """Make the roles that are not there; those that are stay as they are, and are told. Raises only where nothing can
    be done at all. Each comes at once, whoever is killed: half of one would be there next time, and stay so. Not all at
    once: the server has not as many locks."""
    import psycopg

    there = {name for (name,) in connection.execute("SELECT rolname FROM pg_catalog.pg_roles")}
    kept: dict[str, None] = {}
    missed: list[str] = []
    of_roles: dict[str, list[str]] = {}
    others: list[str] = []
    for statement in statements(script):
        role = role_of(statement)
        if role is not None and role in there:
            kept[role] = None
        elif role is not None:
            of_roles.setdefault(role, []).append(statement)
        elif statement.startswith(("GRANT ", "ALTER ", "COMMENT ", "SECURITY ")):  # and not the script's own settings
            others.append(statement)
    for role, its in of_roles.items():
        with server.explained(f"can't make the role `{role}`"), connection.transaction():
            for statement in its:
                try:
                    _execute(server, connection, statement, role=role, missed=missed)
                except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                    kept[role] = None  # by someone else, meanwhile
                    break
    for statement in others:
        _execute(server, connection, statement, role=None, missed=missed)
    mine = connection.info.user
    if known := sorted(name for name in kept if name != mine):
        shown = ", ".join(f"`{name}`" for name in known[:10]) + (" and others" if len(known) > 10 else "")
        missed.append(f"roles that were there already are left as they are: {shown}")
    return missed


def _execute(
    server: Server, connection: psycopg.Connection[Any], statement: str, *, role: str | None, missed: list[str]
) -> None:
    """`missed` takes a line where it fails, but where it makes a role that is there."""
    import psycopg

    try:
        with connection.transaction():
            connection.execute(statement.encode())
    except psycopg.Error as error:
        if role and isinstance(error, psycopg.errors.DuplicateObject | psycopg.errors.UniqueViolation):
            raise
        doing = f"can't make the role `{role}`" if role else "can't grant a membership or a privilege"
        fault = server.translated(error, doing)
        if connection.broken:
            raise fault from error
        missed.append(_line(fault, statement, role))


def _line(fault: BackupError, statement: str, role: str | None) -> str:
    return f"{fault}" if role else f"{fault} ({' '.join(statement.split()[:2])} ...)"

"""The paths of a server's items: where in a snapshot a database, a table, a dump lies."""

from __future__ import annotations

README, CLUSTER, DATABASES = b"README.txt", b"cluster", b"databases"
ROLES, TABLESPACES = CLUSTER + b"/roles.sql", CLUSTER + b"/tablespaces.sql"
DOCUMENT, LARGE_OBJECTS, ROWS, SCHEMA, TABLES = (
    b"database.json",
    b"large-objects.dump",
    b"rows.sql",
    b"schema.dump",
    b"tables",
)
COPY = b".copy"

_NEVER = frozenset((*range(32), 127, *b"/%"))


def file_name(name: str) -> bytes:
    """A name of PostgreSQL as the name of a file: %-codes for what no file can be called, and for control codes."""
    encoded = b"".join(b"%%%02X" % byte if byte in _NEVER else bytes((byte,)) for byte in name.encode())
    return b"%2E" + encoded[1:] if encoded.startswith(b".") else encoded


def database_path(database: str, *parts: bytes) -> bytes:
    return b"/".join((DATABASES, file_name(database), *parts))


def table_path(database: str, schema: str, table: str) -> bytes:
    return database_path(database, TABLES, file_name(schema), file_name(table) + COPY)

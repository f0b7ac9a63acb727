"""The indexes that SQLite keeps for the keys of Chroma's two large tables. No statement drops them, as they belong to
the tables' own statements; so these are written into the schema without the key, and back.

Knows nothing of what else is left out of a database. How the schema is kept, and may be written:
https://www.sqlite.org/fileformat2.html#internal_schema_objects, https://www.sqlite.org/pragma.html#pragma_writable_schema
"""

from __future__ import annotations

import re
import sqlite3
from typing import NamedTuple

from tasks.sources.chroma.records import NotWhole


class Key(NamedTuple):
    """SQLite keeps the `columns` of `table` unique by the index `name`; `without` is the statement that makes the
    table, in one line, but for the key."""

    name: str
    table: str
    kind: str
    columns: str
    without: str

    @property
    def statement(self) -> str:
        return f"{self.without[:-1]}, {self.kind} ({self.columns}))"


KEYS = (
    Key(
        "sqlite_autoindex_embeddings_1",
        "embeddings",
        "UNIQUE",
        "segment_id, embedding_id",
        "CREATE TABLE embeddings (id INTEGER PRIMARY KEY, segment_id TEXT NOT NULL, embedding_id TEXT NOT NULL,"
        " seq_id BLOB NOT NULL, created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)",
    ),
    Key(
        "sqlite_autoindex_embedding_metadata_1",
        "embedding_metadata",
        "PRIMARY KEY",
        "id, key",
        "CREATE TABLE embedding_metadata (id INTEGER REFERENCES embeddings(id), key TEXT NOT NULL, string_value TEXT,"
        " int_value INTEGER, float_value REAL, bool_value INTEGER)",
    ),
)
_OURS = "geometra_key"
_BY_NAME = {key.name: key for key in KEYS}


def in_one_line(sql: object) -> str:
    """A statement of the schema, whatever its lines and blanks; "" for none."""
    return re.sub(r"\s+", " ", sql if isinstance(sql, str) else "").replace("( ", "(").replace(" )", ")")


def try_schema(connection: sqlite3.Connection) -> None:
    """Raises `sqlite3.OperationalError` where this SQLite lets nobody write its schema."""
    connection.execute("PRAGMA writable_schema = ON")
    try:
        connection.execute("UPDATE sqlite_master SET sql = sql WHERE 0")
    finally:
        connection.execute("PRAGMA writable_schema = OFF")


def drop_keys(connection: sqlite3.Connection) -> dict[str, str]:
    """Free the pages of the indexes that are, entry by entry, what their tables say: each one's name, and its table's
    statement, which `make_keys` wants. In a transaction; what is raised leaves it to be rolled back."""
    dropped: dict[str, str] = {}
    try:
        try_schema(connection)
    except sqlite3.OperationalError:
        return dropped
    for key in KEYS:
        statement = _statement(connection, key)
        if in_one_line(statement) != key.statement or not _is_sound(connection, key):
            continue
        _write_schema(
            connection,
            ("UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (key.without, key.table)),
            ("UPDATE sqlite_master SET sql = ?, name = ? WHERE name = ?", (_made_by(key), _OURS, key.name)),
        )
        connection.execute(f"DROP INDEX {_OURS}")
        dropped[key.name] = statement
    return dropped


def make_keys(connection: sqlite3.Connection, dropped: dict[str, str]) -> None:
    """The reverse of `drop_keys`, in a transaction, proven row by row. Raises `NotWhole` where it can't be that,
    `sqlite3.IntegrityError` where a key is there twice."""
    for name, statement in dropped.items():
        key = _BY_NAME.get(name)
        if key is None or in_one_line(statement) != key.statement or _statement(connection, key) != key.without:
            raise NotWhole(f"`{name}` is not of a table that is known")
        connection.execute(_made_by(key))
        _write_schema(
            connection,
            ("UPDATE sqlite_master SET sql = NULL, name = ? WHERE name = ?", (key.name, _OURS)),
            ("UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (statement, key.table)),
        )
        if not _is_sound(connection, key):
            raise NotWhole(f"`{name}` is not what its table holds")


def _is_sound(connection: sqlite3.Connection, key: Key) -> bool:
    """Whether each row of the table is in its indexes, once, and nothing else is."""
    return connection.execute(f"PRAGMA integrity_check({key.table})").fetchall() == [("ok",)]


def _statement(connection: sqlite3.Connection, key: Key) -> str:
    found = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", [key.table])
    return str((found.fetchone() or ("",))[0])


def _made_by(key: Key) -> str:
    return f"CREATE UNIQUE INDEX {_OURS} ON {key.table} ({key.columns})"


def _write_schema(connection: sqlite3.Connection, *changes: tuple[str, tuple[str, ...]]) -> None:
    connection.execute("PRAGMA writable_schema = ON")
    for statement, values in changes:
        connection.execute(statement, values)
    connection.execute("PRAGMA writable_schema = RESET")  # which reads it anew, too

"""What tells a database that is being restored from one whose restore was cut off: a lock that ends with a session."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from tasks.sources.postgresql.catalogue import literal, quoted

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

UNFINISHED = "geometra-backup is restoring this database"
"""How the comment of one begins that was there, empty, until all is in it."""
_OURS = 0x67656F6D
_HELD = """
SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND classid::bigint = %s
  AND objid::bigint = %s AND granted
"""
_HOLD = f"""
SELECT CASE WHEN pg_catalog.pg_try_advisory_lock(%s::int4, %s::int4)
  THEN NOT EXISTS ({_HELD} AND pid <> pg_catalog.pg_backend_pid()) ELSE false END
"""
_COMMENT = """
SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database WHERE datname = %s
"""


def mark(run: str) -> str:
    """The comment that a restore of that id gives: another must not take for its own what this one leaves."""
    return f"{UNFINISHED} (run {run})" if run else UNFINISHED


def is_mark(comment: str | None) -> bool:
    return comment is not None and comment.startswith(UNFINISHED)


def hold(connection: Connection, name: str) -> bool:
    """Until the connection ends. False where another session does: also in another database, where it is another lock
    to the server."""
    number = _number(name) - 2**31
    row = connection.execute(_HOLD.encode(), (_OURS, number, _OURS, number % 2**32)).fetchone()
    return bool(row and row[0])


def is_held(connection: Connection, name: str) -> bool:
    """By any session of the server."""
    found = connection.execute(_HELD, (_OURS, (_number(name) - 2**31) % 2**32))
    return found.fetchone() is not None


def comment_of(connection: Connection, name: str) -> str | None:
    row = connection.execute(_COMMENT, (name,)).fetchone()
    return row[0] if row else None


def comment(connection: Connection, name: str, text: str | None) -> bool:
    """False where this user may not, as the database is another's."""
    import psycopg

    try:
        connection.execute(
            f"COMMENT ON DATABASE {quoted(name)} IS {'NULL' if text is None else literal(text)}".encode()
        )
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def _number(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "big")

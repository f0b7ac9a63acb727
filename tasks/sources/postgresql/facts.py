"""What is counted of a database: while it is captured, of a restored copy, and of a folder of files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from blake3 import blake3

from tasks.item import Facts
from tasks.sources.postgresql.catalogue import SequenceValue
from tasks.sources.postgresql.digest import added

if TYPE_CHECKING:
    import psycopg

_NAMED = 500


class TableFacts(NamedTuple):
    """`digest`: of the rows in the order of their key, or, where that differs from server to server, in any order."""

    name: str
    rows: int
    digest: str


def tables_facts(tables: Iterable[TableFacts]) -> Facts:
    """A digest of all, and the first 500 by name, so that one that differs can be named."""
    by_name: dict[str, TableFacts] = {}
    for one in tables:
        by_name[one.name] = _together(by_name[one.name], one) if one.name in by_name else one
    found = sorted(by_name.values())
    whole = blake3()
    for table in found:
        whole.update(f"{table.name}\0{table.rows}\0{table.digest}\0".encode("utf-8", "surrogatepass"))
    return {
        "count": len(found),
        "rows": sum(table.rows for table in found),
        "digest": whole.hexdigest(),
        "named": {table.name: {"rows": table.rows, "digest": table.digest} for table in found[:_NAMED]},
    }


def _together(one: TableFacts, other: TableFacts) -> TableFacts:
    """Of two parts of a table, whose digests are sums."""
    return TableFacts(one.name, one.rows + other.rows, added(one.digest, other.digest))


def sequences_facts(sequences: Iterable[SequenceValue]) -> Facts:
    found = sorted((each.full_name, each.value, each.called) for each in sequences)
    whole = blake3()
    for name, value, called in found:
        whole.update(f"{name}\0{value}\0{called}\0".encode("utf-8", "surrogatepass"))
    return {
        "count": len(found),
        "digest": whole.hexdigest(),
        "named": {name: value if called else f"{value}, not used yet" for name, value, called in found[:_NAMED]},
    }


def large_objects_facts(connection: psycopg.Connection[Any]) -> Facts:
    """How many there are; and, where the content may be read directly, its size and a digest of every page."""
    count = connection.execute("SELECT count(*) FROM pg_catalog.pg_largeobject_metadata").fetchone()
    facts: Facts = {"count": count[0] if count else 0}
    readable = connection.execute(
        "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_largeobject', 'SELECT')"
    ).fetchone()
    if facts["count"] and readable and readable[0]:
        # A numeric sum of 64-bit hashes: in any order, in little memory, and no object has to be whole in it.
        row = connection.execute("""
            SELECT coalesce(sum(length(data)), 0)::text,
                   coalesce(sum(hashtextextended(md5(data), (loid::bigint << 31) # pageno)::numeric), 0)::text
            FROM pg_catalog.pg_largeobject
        """).fetchone()
        if row:
            facts |= {"bytes": int(row[0]), "digest": row[1]}
    return facts

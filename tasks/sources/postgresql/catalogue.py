"""What a database's own catalogue says of what is in it: tables, sequences, objects by kind; within one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

_MANY = 200


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows are captured. `key` orders them: columns that tell rows apart, none if there are no such.
    `steady` says that every server sorts by the key alike. `root` is the table to load through where a row's own
    partition can't be told beforehand. `condition` chooses an extension's rows that its user made."""

    schema: str
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    steady: bool
    parents: tuple[tuple[str, str], ...] = ()
    root: tuple[str, str] | None = None
    condition: str = ""

    @property
    def full_name(self) -> str:
        return full_name(self.schema, self.name)

    @property
    def counted_as(self) -> str:
        """Rows that may end up in another partition are counted for the table that they are loaded through."""
        return full_name(*self.root) if self.root else self.full_name

    def query(self, encoding: str) -> str:
        """COPY, in the encoding of the database."""
        chosen = ", ".join(map(quoted, self.columns))
        where = f" {self.condition}" if self.condition else ""
        order = f" ORDER BY {', '.join(map(quoted, self.key))}" if self.key else ""
        rows = f"SELECT {chosen} FROM ONLY {self.full_name}{where}{order}"  # noqa: S608 - quoted
        return f"COPY ({rows}) TO STDOUT (ENCODING '{encoding}')"

    def load(self, encoding: str) -> str:
        """The COPY that takes what `query` gave."""
        into = full_name(*self.root) if self.root else self.full_name
        columns = f" ({', '.join(map(quoted, self.columns))})" if self.columns else ""
        return f"COPY {into}{columns} FROM STDIN (ENCODING '{encoding}')"


@dataclass(frozen=True, slots=True)
class SequenceValue:
    schema: str
    name: str
    value: int
    called: bool

    @property
    def full_name(self) -> str:
        return full_name(self.schema, self.name)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """As a text in SQL, whatever `standard_conforming_strings` says."""
    plain = "'" + text.replace("'", "''") + "'"
    return "E" + plain.replace("\\", "\\\\") if "\\" in plain else plain


def full_name(schema: str, name: str) -> str:
    return f"{quoted(schema)}.{quoted(name)}"


_USERS = """
    n.nspname !~ '^pg_(catalog|toast|temp_|toast_temp_)' AND n.nspname <> 'information_schema'
"""
_TABLES = f"""
WITH configured AS (
    SELECT relation, condition
    FROM pg_catalog.pg_extension, unnest(extconfig, extcondition) AS each (relation, condition)
), member AS (
    SELECT objid FROM pg_catalog.pg_depend
    WHERE classid = 'pg_catalog.pg_class'::regclass AND deptype = 'e'
      AND refclassid = 'pg_catalog.pg_extension'::regclass
)
SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence,
       coalesce(configured.condition, '') AS condition
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN configured ON configured.relation = c.oid
WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND {_USERS}
  AND (configured.relation IS NOT NULL OR c.oid NOT IN (SELECT objid FROM member))
"""  # noqa: S608 - constants

_COLUMNS = """
SELECT a.attrelid, a.attname
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attrelid, a.attnum
"""

# The primary key, else the first index that tells all rows apart. Sorted alike everywhere are numbers, times, bytes,
# and texts that are compared byte by byte; how a language sorts depends on the library of the server's machine.
_KEYS = """
WITH best AS (
    SELECT DISTINCT ON (i.indrelid) i.indrelid, i.indkey, i.indnkeyatts
    FROM pg_catalog.pg_index i
    WHERE i.indrelid = ANY(%s) AND i.indisunique AND i.indisvalid AND i.indimmediate
      AND i.indpred IS NULL AND i.indexprs IS NULL
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = i.indrelid AND NOT a.attnotnull
            AND a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1])
      )
    ORDER BY i.indrelid, i.indisprimary DESC, i.indnkeyatts, i.indexrelid
)
SELECT best.indrelid, a.attname,
       coalesce(nullif(t.typbasetype, 0), t.oid) IN (
           'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'oid'::regtype, 'uuid'::regtype, 'date'::regtype,
           'timestamp'::regtype, 'timestamptz'::regtype, 'time'::regtype, 'numeric'::regtype, 'bool'::regtype,
           'bytea'::regtype, 'inet'::regtype, 'name'::regtype
       ) OR (
           coalesce(nullif(t.typbasetype, 0), t.oid) IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype)
           AND (o.collname IN ('C', 'POSIX') OR (o.collname = 'default' AND %s))
       ) AS steady
FROM best
CROSS JOIN LATERAL unnest((best.indkey::int2[])[0:best.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, at)
JOIN pg_catalog.pg_attribute a ON a.attrelid = best.indrelid AND a.attnum = k.attnum
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_collation o ON o.oid = a.attcollation
ORDER BY best.indrelid, k.at
"""

_PARENTS = f"""
WITH RECURSIVE above AS (
    SELECT inhrelid AS child, inhparent AS parent, 1 AS level FROM pg_catalog.pg_inherits WHERE inhrelid = ANY(%s)
    UNION ALL
    SELECT above.child, i.inhparent, above.level + 1
    FROM above JOIN pg_catalog.pg_inherits i ON i.inhrelid = above.parent
)
SELECT above.child, n.nspname, c.relname,
       c.relkind = 'p' AND EXISTS (
           SELECT FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid = c.oid AND p.partstrat = 'h'
       ) AS hashed, c.relkind = 'p' AS partitioned
FROM above JOIN pg_catalog.pg_class c ON c.oid = above.parent JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {_USERS}
ORDER BY above.child, above.level
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Relation:
    """`kind` is *r* (has rows), *p* (partitioned: its partitions have them) or *S* (a sequence)."""

    oid: int
    schema: str
    name: str
    kind: str
    unlogged: bool
    condition: str

    @property
    def full_name(self) -> str:
        return full_name(self.schema, self.name)


def relations(connection: Connection) -> list[Relation]:
    """All that a dump would take the content of."""
    return [
        Relation(oid, schema, name, kind, persistence == "u", condition)
        for oid, schema, name, kind, persistence, condition in connection.execute(_TABLES.encode())
    ]


def tables(connection: Connection, found: Sequence[Relation], *, plain_order: bool) -> list[Table]:
    """Those with rows. `plain_order`: the database's own collation compares byte by byte."""
    wanted = [relation for relation in found if relation.kind == "r"]
    oids = [relation.oid for relation in wanted]
    columns: dict[int, list[str]] = {}
    for oid, name in connection.execute(_COLUMNS, (oids,)):
        columns.setdefault(oid, []).append(name)
    keys: dict[int, list[tuple[str, bool]]] = {}
    for oid, name, steady in connection.execute(_KEYS, (oids, plain_order)):
        keys.setdefault(oid, []).append((name, steady))
    parents: dict[int, list[tuple[str, str, bool, bool]]] = {}
    for oid, schema, name, hashed, partitioned in connection.execute(_PARENTS.encode(), (oids,)):
        parents.setdefault(oid, []).append((schema, name, hashed, partitioned))
    made = []
    for relation in wanted:
        key, above = keys.get(relation.oid, []), parents.get(relation.oid, [])
        # Which partition a hash means may differ in another database; the topmost table finds it.
        root = above[-1][:2] if any(hashed for *_, hashed, _ in above) else None
        made.append(
            Table(
                relation.schema,
                relation.name,
                tuple(columns.get(relation.oid, ())),
                tuple(name for name, _ in key),
                bool(key) and root is None and all(steady for _, steady in key),
                tuple((schema, name) for schema, name, *_ in above),
                root,
                relation.condition,
            )
        )
    return made


def sequences(connection: Connection, found: Sequence[Relation]) -> list[SequenceValue]:
    """What each sequence has come to: not part of any snapshot, so read after it was taken, never before."""
    wanted = sorted((each.schema, each.name) for each in found if each.kind == "S")
    made: list[SequenceValue] = []
    for at in range(0, len(wanted), _MANY):
        batch = wanted[at : at + _MANY]
        query = " UNION ALL ".join(
            f"SELECT {number}, last_value, is_called FROM {full_name(*name)}"  # noqa: S608 - quoted
            for number, name in enumerate(batch)
        )
        for number, value, called in sorted(connection.execute(query.encode())):
            made.append(SequenceValue(batch[number][0], batch[number][1], value, called))
    return made


# What a restore must bring back, counted by kind: what an extension brought along comes back with it.
_OBJECTS = f"""
WITH theirs AS (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'),
relation AS (
    SELECT c.* FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE {_USERS} AND c.relpersistence <> 't'
      AND NOT EXISTS (SELECT FROM theirs WHERE classid = 'pg_catalog.pg_class'::regclass AND objid = c.oid)
)
SELECT CASE relkind WHEN 'r' THEN 'tables' WHEN 'p' THEN 'partitioned_tables' WHEN 'v' THEN 'views'
       WHEN 'm' THEN 'materialized_views' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'foreign_tables'
       WHEN 'i' THEN 'indexes' WHEN 'I' THEN 'partitioned_indexes' WHEN 'c' THEN 'composite_types'
       ELSE 'others' END AS kind, count(*)
FROM relation GROUP BY 1
UNION ALL
SELECT 'columns', count(*) FROM pg_catalog.pg_attribute a JOIN relation ON relation.oid = a.attrelid
WHERE a.attnum > 0 AND NOT a.attisdropped AND relation.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
UNION ALL
SELECT 'constraints', count(*) FROM pg_catalog.pg_constraint k JOIN relation ON relation.oid = k.conrelid
WHERE k.contype <> 'n'
UNION ALL
SELECT 'triggers', count(*) FROM pg_catalog.pg_trigger g JOIN relation ON relation.oid = g.tgrelid
WHERE NOT g.tgisinternal
UNION ALL
SELECT 'policies', count(*) FROM pg_catalog.pg_policy p JOIN relation ON relation.oid = p.polrelid
UNION ALL
SELECT 'rules', count(*) FROM pg_catalog.pg_rewrite w JOIN relation ON relation.oid = w.ev_class
UNION ALL
SELECT 'populated_views', count(*) FROM relation WHERE relkind = 'm' AND relispopulated
UNION ALL
SELECT 'functions', count(*) FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE {_USERS} AND NOT EXISTS (SELECT FROM theirs WHERE classid = 'pg_catalog.pg_proc'::regclass AND objid = p.oid)
UNION ALL
SELECT 'types', count(*) FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE {_USERS} AND t.typtype IN ('e', 'd', 'r') AND NOT EXISTS (
    SELECT FROM theirs WHERE classid = 'pg_catalog.pg_type'::regclass AND objid = t.oid
)
UNION ALL
SELECT 'subscriptions', count(s.subdbid) FROM pg_catalog.pg_subscription s
JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = pg_catalog.current_database()
UNION ALL
SELECT 'schemas', count(*) FROM pg_catalog.pg_namespace n WHERE {_USERS}
"""  # noqa: S608 - constants


def object_counts(connection: Connection) -> dict[str, int]:
    """How many there are of each kind, of those there are any of."""
    return {kind: count for kind, count in sorted(connection.execute(_OBJECTS.encode())) if count}


_HIDING = "SELECT oid FROM pg_catalog.pg_class WHERE oid = ANY(%s) AND pg_catalog.row_security_active(oid)"


def hiding(connection: Connection, found: Sequence[Relation]) -> set[tuple[str, str]]:
    """The tables of which row security hides rows from this user, who is refused then."""
    named = {each.oid: (each.schema, each.name) for each in found}
    return {named[oid] for (oid,) in connection.execute(_HIDING, (list(named),))}

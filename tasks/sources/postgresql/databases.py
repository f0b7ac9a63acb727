"""What a server says of its databases: which there are, and each one's own properties."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

_DATABASE = """
SELECT d.datname, pg_catalog.pg_get_userbyid(d.datdba) AS owner, pg_catalog.pg_encoding_to_char(d.encoding) AS encoding,
       d.datcollate AS "collate", d.datctype AS ctype, to_jsonb(d) AS everything, t.spcname AS tablespace,
       d.datconnlimit AS connection_limit, pg_catalog.shobj_description(d.oid, 'pg_database') AS comment,
       d.datacl IS NOT NULL AS has_acl, pg_catalog.current_setting('server_version_num')::int / 10000 AS major,
       pg_catalog.current_setting('server_version') AS version
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
WHERE d.datname = pg_catalog.current_database()
"""
_PRIVILEGES = """
SELECT CASE WHEN a.grantee = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
       a.privilege_type, a.is_grantable
FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a
WHERE d.datname = pg_catalog.current_database()
ORDER BY 1 NULLS FIRST, 2
"""
_VARIABLES = """
SELECT CASE WHEN s.setrole = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(s.setrole) END, each.setting
FROM pg_catalog.pg_db_role_setting s
JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase,
unnest(s.setconfig) WITH ORDINALITY AS each (setting, at)
WHERE d.datname = pg_catalog.current_database()
ORDER BY 1 NULLS FIRST, each.at
"""
_TABLESPACES = """
SELECT DISTINCT t.spcname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_tablespace t ON t.oid = c.reltablespace
WHERE t.spcname NOT IN ('pg_default', 'pg_global')
UNION
SELECT t.spcname FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
WHERE d.datname = pg_catalog.current_database() AND t.spcname <> 'pg_default'
ORDER BY 1
"""
_EXTENSIONS = "SELECT extname, extversion FROM pg_catalog.pg_extension ORDER BY 1"
_NAMES = """
SELECT datname, CASE WHEN pg_catalog.has_database_privilege(oid, 'CONNECT')
       THEN pg_catalog.pg_database_size(oid) ELSE -1 END
FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2 ORDER BY 1
"""
_INVALID = "SELECT datname FROM pg_catalog.pg_database WHERE datconnlimit = -2 ORDER BY 1"


@dataclass(frozen=True, slots=True)
class Database:
    """A database itself, but for what is in it. `provider` and `locale` are those of the collation, where they are not
    libc's. `privileges` are (role or None for everybody, privilege, grantable), None where they are the usual ones;
    `variables` are (role or None, name, value); `rules` change how an ICU locale sorts."""

    name: str
    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str
    locale: str
    tablespace: str
    connection_limit: int
    comment: str
    privileges: tuple[tuple[str | None, str, bool], ...] | None
    variables: tuple[tuple[str | None, str, str], ...]
    tablespaces: tuple[str, ...]
    public: bool
    major: int
    version: str
    rules: str = ""

    @property
    def plain_order(self) -> bool:
        """Whether its collation compares byte by byte."""
        return self.provider == "c" and self.collate in ("C", "POSIX", "C.UTF-8", "C.utf8")


def database(connection: Connection) -> Database:
    row = connection.execute(_DATABASE).fetchone()
    assert row is not None  # noqa: S101 - one is always connected to a database
    name, owner, encoding, collate, ctype, everything, tablespace, limit, comment, has_acl, major, version = row
    privileges = tuple(connection.execute(_PRIVILEGES).fetchall()) if has_acl else None
    variables = tuple(
        (role, *setting.partition("=")[::2]) for role, setting in connection.execute(_VARIABLES).fetchall()
    )
    public = connection.execute("SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'public'").fetchone() is not None
    return Database(
        name,
        owner,
        encoding,
        collate or "",
        ctype or "",
        *sorting(everything),
        tablespace,
        limit,
        comment or "",
        privileges,
        variables,
        tuple(name for (name,) in connection.execute(_TABLESPACES)),
        public,
        major,
        version,
        sorting_rules(everything),
    )


def sorting(everything: dict[str, Any]) -> tuple[str, str]:
    """The provider of a database's collation, and its locale where that is not libc's: of its row in pg_database."""
    locale = everything.get("datlocale") or everything.get("daticulocale") or ""
    return everything.get("datlocprovider", "c"), locale


def sorting_rules(everything: dict[str, Any]) -> str:
    """What changes that (PostgreSQL 16 and later, ICU alone)."""
    return everything.get("daticurules") or ""


def extensions(connection: Connection) -> dict[str, str]:
    return dict(connection.execute(_EXTENSIONS).fetchall())


def names_of(connection: Connection) -> Iterator[tuple[str, int]]:
    """The databases that can be connected to, and their sizes in bytes, -1 where it may not be known."""
    yield from connection.execute(_NAMES).fetchall()


def invalid_databases(connection: Connection) -> list[str]:
    """Those whose DROP DATABASE was cut off: nobody can connect to them, and nothing but to drop them is possible."""
    return [name for (name,) in connection.execute(_INVALID).fetchall()]

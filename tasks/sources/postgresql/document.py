"""What neither a dump nor rows say of a database, kept beside them as `database.json`."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from tasks.errors import Damaged, NewerFormat
from tasks.sources.postgresql.catalogue import SequenceValue, Table, literal
from tasks.sources.postgresql.databases import Database
from tasks.sources.postgresql.names import file_name

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Document:
    database: Database
    tables: tuple[Table, ...]
    sequences: tuple[SequenceValue, ...]
    extensions: dict[str, str]
    objects: dict[str, int]
    large_objects: dict[str, Any]
    client: str

    @property
    def written_by(self) -> int:
        """The major version of the programs that wrote the dumps; no older one reads them."""
        found = re.search(r"\(PostgreSQL\) (\d+)", self.client)
        return int(found[1]) if found else self.database.major

    def to_bytes(self) -> bytes:
        plain = {
            "format": _FORMAT,
            "client": self.client,
            "database": asdict(self.database),
            "extensions": self.extensions,
            "objects": self.objects,
            "large_objects": self.large_objects,
            "sequences": [asdict(each) for each in self.sequences],
            "tables": [asdict(each) for each in self.tables],
        }
        return json.dumps(plain, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Document:
        """Raises `Damaged` for what no capture writes, `NewerFormat`."""
        try:
            plain = json.loads(data)
            if plain["format"] > _FORMAT:
                raise NewerFormat("this database was captured by a newer version of this program: restore with that")
            return cls(
                _made(Database, plain["database"]),
                tuple(_made(Table, each) for each in plain["tables"]),
                tuple(_made(SequenceValue, each) for each in plain["sequences"]),
                dict(plain["extensions"]),
                dict(plain["objects"]),
                dict(plain["large_objects"]),
                str(plain["client"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(
                "database.json is not as it was written; restore to a folder, and read the dumps there"
            ) from error

    def rows_script(self) -> bytes:
        """What psql loads the rows with, in the folder that they were restored to."""
        encoding = self.database.encoding
        lines = [
            "-- Loads the rows and sets the sequences. See README.txt, three folders up, for when to run it:",
            "-- psql -X -v ON_ERROR_STOP=1 -d DATABASE -f rows.sql",
            "\\encoding UTF8",
            "SET row_security = off;",
        ]
        for table in self.tables:
            if any(ord(letter) < 32 for name in (table.schema, table.name, *table.columns) for letter in name):
                lines.append(f"-- to be loaded by hand, as its names have control characters: {table.full_name!r}")
                continue
            file = b"/".join((b"tables", file_name(table.schema), file_name(table.name) + b".copy")).decode()
            source = "'" + file.replace("\\", "\\\\").replace("'", "''") + "'"
            lines.append(
                "\\" + table.load(encoding).replace("COPY", "copy", 1).replace(" FROM STDIN ", f" FROM {source} ")
            )
        lines += [set_sequence(each) + ";" for each in self.sequences]
        return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")


def set_sequence(value: SequenceValue) -> str:
    called = "true" if value.called else "false"
    return f"SELECT pg_catalog.setval({literal(value.full_name)}, {value.value}, {called})"


def _made(kind: type[Any], plain: dict[str, Any]) -> Any:
    known = {each.name for each in fields(kind)}
    return kind(**{name: _frozen(value) for name, value in plain.items() if name in known})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


_README = """\
A PostgreSQL server, as the backup took it. Each database is a folder in `databases`; names have %-codes for what no
file can be called.

To put a database back by hand, with the PostgreSQL programs of its version (`database.json` says which) or newer:

  psql -X -d postgres -f cluster/roles.sql
  createdb --template=template0 shop
  cd databases/shop
  pg_restore --exit-on-error --section=pre-data -d shop schema.dump
  psql -X -v ON_ERROR_STOP=1 -d shop -f rows.sql
  pg_restore --exit-on-error --section=data -d shop large-objects.dump
  pg_restore --exit-on-error --section=post-data -d shop -j 4 schema.dump
  psql -X -d shop -c ANALYZE

Roles that are there already give errors, and get the passwords and settings of the backup: leave them out of roles.sql
if that is not wanted. Not every database has large objects. Where pg_restore is of version 17 or newer and the server
is older, leave out --exit-on-error: it may complain once that the server does not know transaction_timeout.

cluster/tablespaces.sql names the folders that tablespaces had; without them, add --no-tablespaces.
The rows of one table are tables/SCHEMA/TABLE.copy: what COPY writes as text, in the encoding of the database.
"""


def readme() -> bytes:
    return _README.encode()

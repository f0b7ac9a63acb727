"""Fill an empty database: what comes before rows, rows, large objects, and what comes after rows."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tasks.errors import Damaged, NoSpace, Refused, SourceError
from tasks.item import Stored, StoredItems
from tasks.sources.postgresql.child import Child
from tasks.sources.postgresql.document import set_sequence
from tasks.sources.postgresql.loading import load_tables
from tasks.sources.postgresql.programs import Programs
from tasks.sources.postgresql.server import Server
from tasks.sources.postgresql.snapshot_items import DatabaseItems

_PIECE = 1 << 20
_FAILED = "pg_restore: error: could not execute query"
_PATIENCE = 24 * 3600.0
"""Seconds: building the indexes of a large database is one program that says nothing meanwhile."""


@dataclass(slots=True)
class Filling:
    """How one database is put back. `missed` takes a line for each thing that could not be; `broken` for each index,
    constraint or view that the rows themselves do not allow; `lost` for what is damaged, and why."""

    server: Server
    programs: Programs
    items: StoredItems
    database: DatabaseItems
    owners: bool
    tablespaces: bool
    schema_only: bool
    jobs: int
    missed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)

    def fill(self, into: str, *, whole: bool, strict: bool) -> None:
        """`whole`: with rows of all tables. Where they are only those of some, what relies on others may fail, and is
        told. Else nothing may fail if it is `strict`, and if not, what can be kept is: also where rows are damaged."""
        encoding = self.database.document.database.encoding

        def lose(what: str, error: Damaged) -> None:
            if strict:
                raise error
            self.lost[f"{what} in `{self.database.name}`"] = str(error)

        with self.schema_file() as schema:
            self._prepare(into)
            # With the schema each large object is made, for its content to come; without any, none is.
            content = [] if self.database.large_objects else ["--schema-only"]
            self.restore(into, schema, "--section=pre-data", *content)
            if not self.schema_only:
                load_tables(
                    self.server,
                    into,
                    self.items,
                    self.database.tables(),
                    encoding=encoding,
                    jobs=self.jobs,
                    lose=lambda table, error: lose(f"the rows of {table.full_name}", error),
                )
                try:
                    self._large_objects(into)
                except Damaged as error:
                    lose("large objects", error)
                self._sequences(into)
            told = self.broken if whole else self.missed
            told += self.restore(into, schema, "--section=post-data", f"--jobs={self.jobs}", strict=whole and strict)
        with closing(self.server.connect(into)) as connection, self.server.explained(f"can't analyze `{into}`"):
            connection.execute("ANALYZE")

    def restore(self, into: str, archive: Path, *options: str, strict: bool = True) -> list[str]:
        """pg_restore of a file: a line for each thing that failed, which nothing may if it is `strict`."""
        child = self._pg_restore(into, *options, *(["--exit-on-error"] if strict else []), str(archive))
        return self._finish(child, strict=strict)

    @contextmanager
    def schema_file(self) -> Iterator[Path]:
        """The schema's archive as a file of our own: pg_restore goes through it more than once."""
        with tempfile.TemporaryDirectory(prefix="geometra-restore-") as folder:
            path = Path(folder) / "schema.dump"
            try:
                with path.open("wb") as file:
                    _copy(self.items, self.database.schema, file)
            except OSError as error:
                raise NoSpace(
                    f"no room for the schema of `{self.database.name}` in `{folder}`: {error.strerror}"
                ) from error
            yield path

    def _prepare(self, into: str) -> None:
        """A new database has the schema `public`; one that was dropped must not come back with it."""
        if self.database.document.database.public:
            return
        with closing(self.server.connect(into)) as connection, self.server.explained(f"can't prepare `{into}`"):
            connection.execute("DROP SCHEMA IF EXISTS public")

    def _large_objects(self, into: str) -> None:
        item = self.database.large_objects
        if item is None:
            return
        child = self._pg_restore(into, "--section=data", "--exit-on-error", given=subprocess.PIPE)
        stream, buffer = self.items.open(item), memoryview(bytearray(_PIECE))
        try:
            while count := stream.readinto(buffer):
                child.write(buffer[:count])
            self._finish(child)
        finally:
            stream.close()
            child.stop()

    def _sequences(self, into: str) -> None:
        with closing(self.server.connect(into)) as connection, self.server.explained("can't set a sequence"):
            connection.execute("BEGIN")
            for value in self.database.document.sequences:
                connection.execute(set_sequence(value).encode())
            connection.execute("COMMIT")

    def _pg_restore(self, into: str, *options: str, given: IO[bytes] | int = subprocess.DEVNULL) -> Child:
        command = [self.programs.path("pg_restore"), "--no-password", f"--dbname={self.server.argument}", *options]
        command += [] if self.owners else ["--no-owner", "--no-privileges"]
        command += [] if self.tablespaces else ["--no-tablespaces"]
        command += ["--schema-only"] if self.schema_only and "--schema-only" not in options else []
        environment = self.server.environment(into)
        doing = f"database `{into}`: pg_restore fails"
        return Child(self.server, command, environment, doing=doing, given=given, patience=_PATIENCE)

    def _finish(self, child: Child, *, strict: bool = True) -> list[str]:
        try:
            while child.read(_PIECE):
                pass
        except (SourceError, Refused):
            errors = [line for line in child.complaints() if line.startswith(_FAILED)]
            if strict or not errors:
                raise
            return [self.server.without_secrets(line.removeprefix(_FAILED).lstrip(": ")) for line in errors]
        finally:
            child.stop()
        return []


def _copy(items: StoredItems, item: Stored, into: IO[bytes]) -> None:
    stream, buffer = items.open(item), memoryview(bytearray(_PIECE))
    try:
        while count := stream.readinto(buffer):
            into.write(buffer[:count])
    finally:
        stream.close()

"""Fill an empty database: what comes before rows, rows, large objects, and what comes after rows."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
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
_ERROR = "pg_restore: error:"
_FAILED = f"{_ERROR} could not execute query"
_COMMAND = "Command was: "
_TOLD = 100
_NO_ROLE = re.compile(r'role "(.+)" does not exist')
_ENDED = "pg_restore: warning: errors ignored on restore"
_UNKNOWN = 'unrecognized configuration parameter "transaction_timeout"'
_SET, _SINCE = b"\nSET transaction_timeout = 0;\n", 17
"""Programs from that version on say this to every server, and an older one does not know it."""
_PATIENCE = 24 * 3600.0
"""Seconds: building the indexes of a large database is one program that says nothing meanwhile."""


@dataclass(slots=True)
class Filling:
    """How one database is put back; `major` is the server's version. `missed` takes a line for each thing that
    could not be; `broken` for each index, constraint or view that the rows themselves do not allow; `lost` for what is
    damaged, and why."""

    server: Server
    programs: Programs
    major: int
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
            for line in self.restore(
                into, schema, "--section=post-data", f"--jobs={self.jobs}", strict=whole and strict
            ):
                # Such as a policy: who wants no owners brings no roles.
                unowned = not self.owners and absent_role(line)
                (self.broken if whole and not unowned else self.missed).append(line)
        with closing(self.server.connect(into)) as connection, self.server.explained(f"can't analyze `{into}`"):
            connection.execute("ANALYZE")

    def restore(self, into: str, archive: Path, *options: str, strict: bool = True) -> list[str]:
        """pg_restore of a file: a line for each thing that failed, which nothing may if it is `strict`."""
        return self._finish(self._pg_restore(into, *options, str(archive), strict=strict), strict=strict)

    def define(self, into: str, archive: Path, *, also: str) -> None:
        """All of a file that comes before rows, and `also` these statements, or nothing of it."""
        script = archive.with_suffix(".sql")
        self._run(into, "pg_restore", "--section=pre-data", f"--file={script}", *self._left_out(), str(archive))
        if self._unheeded:
            # Which would end the transaction.
            script.write_bytes(script.read_bytes().replace(_SET, b"\n", 1))
        with script.open("a", encoding="utf-8") as file:
            file.write(f"\nSET client_encoding = 'UTF8';\n{also}")
        once = ("--single-transaction", "--set=ON_ERROR_STOP=1", f"--dbname={self.server.argument}")
        self._run(into, "psql", "--no-psqlrc", "--quiet", "--no-password", *once, f"--file={script}")

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
        child = self._pg_restore(into, "--section=data", strict=True, given=subprocess.PIPE)
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

    def _pg_restore(self, into: str, *options: str, strict: bool, given: IO[bytes] | int = subprocess.DEVNULL) -> Child:
        command = [self.programs.path("pg_restore"), "--no-password", f"--dbname={self.server.argument}", *options]
        command += self._left_out()
        command += ["--schema-only"] if self.schema_only and "--schema-only" not in options else []
        # It would end at what is unheeded.
        command += ["--exit-on-error"] if strict and not self._unheeded else []
        environment = self.server.environment(into)
        doing = f"database `{into}`: pg_restore fails"
        unheeded = self._unheeded
        return Child(self.server, command, environment, doing=doing, given=given, patience=_PATIENCE, unheeded=unheeded)

    def _run(self, into: str, program: str, *options: str) -> None:
        command, environment = [self.programs.path(program), *options], self.server.environment(into)
        child = Child(self.server, command, environment, doing=f"database `{into}`: {program} fails")
        self._finish(child)

    def _left_out(self) -> list[str]:
        options = [] if self.owners else ["--no-owner", "--no-privileges"]
        return options if self.tablespaces else [*options, "--no-tablespaces"]

    @property
    def _unheeded(self) -> str:
        return _UNKNOWN if self.programs.major >= _SINCE > self.major else ""

    def _finish(self, child: Child, *, strict: bool = True) -> list[str]:
        try:
            while child.read(_PIECE):
                pass
        except (SourceError, Refused):
            lines = child.complaints()
            ended = any(line.startswith(_ENDED) for line in lines)
            if self._unheeded and ended and not any(line.startswith(_ERROR) for line in lines):
                return []
            failed = _failed(lines)
            if strict or not failed:
                raise
            return [self.server.without_secrets(line) for line in failed]
        finally:
            child.stop()
        return []


def absent_role(line: str) -> str:
    """Of a line that says what could not be put back: the role that it lacks, if that is why."""
    found = _NO_ROLE.search(line)
    return found[1] if found else ""


def _failed(lines: list[str]) -> list[str]:
    """Of what pg_restore prints: the beginning of each statement that failed, and why. Not what is quoted in it,
    such as the password of a subscription."""
    found = list[str]()
    for at, line in enumerate(lines):
        if not line.startswith(_FAILED):
            continue
        said, told = line.removeprefix(_FAILED).lstrip(": "), list(takewhile(_goes_on, lines[at + 1 :]))
        command = next((n for n, each in enumerate(told) if each.startswith(_COMMAND)), len(told))
        what = " ".join(told[command:]).removeprefix(_COMMAND).partition("'")[0].rstrip("; ")
        found.append(f"{what[:_TOLD]}{'…' if len(what) > _TOLD else ''}: {said}" if what else said)
    return found


def _goes_on(line: str) -> bool:
    return not line.startswith("pg_restore: ")


def _copy(items: StoredItems, item: Stored, into: IO[bytes]) -> None:
    stream, buffer = items.open(item), memoryview(bytearray(_PIECE))
    try:
        while count := stream.readinto(buffer):
            into.write(buffer[:count])
    finally:
        stream.close()

"""PostgreSQL: databases as schema and rows of one moment, with the roles of their server."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import AliasChoices, Field, field_validator

from tasks.errors import BackupError, SourceError
from tasks.item import Facts, Stored, StoredItems
from tasks.secret import Address, Secret, SecretReference
from tasks.settings import SourceSettings, TargetSettings
from tasks.sources.file_restore import restore_files
from tasks.sources.postgresql import names
from tasks.sources.postgresql.capture import Manner, ServerCapture
from tasks.sources.postgresql.check import database_problems, problem_of, server_problems
from tasks.sources.postgresql.databases import names_of
from tasks.sources.postgresql.examining import examine_databases, examine_folder
from tasks.sources.postgresql.filling import absent_role
from tasks.sources.postgresql.moment import Patience
from tasks.sources.postgresql.programs import Programs, programs_for
from tasks.sources.postgresql.rehearsed import rehearsed_facts
from tasks.sources.postgresql.restoring import Way, restore_into_server
from tasks.sources.postgresql.scratch_server import program_folder, scratch_server, start_again
from tasks.sources.postgresql.server import OLDEST, Server
from tasks.sources.source import Problem, Rehearsal, Restoring
from tasks.values import Duration

_STARTS = 100
"""Of a drill, for roles of which each start names one."""


def _without_password(value: Secret | str) -> Secret | str:
    """libpq takes a password among the parameters behind `?` too."""
    if isinstance(value, str):
        if not re.match(r"postgres(ql)?://", value):
            raise ValueError("use a URL such as `postgresql://user@host:5432/database`")
        if any(name in ("password", "sslpassword") for name, _ in parse_qsl(urlsplit(value).query)):
            raise ValueError("a password is never written here: use `env:NAME` or `file:PATH` for the whole URL")
    return value


class PostgresSettings(SourceSettings):
    """Databases of a PostgreSQL server: schema, rows, sequences and large objects of one moment, and the roles."""

    url: Address
    """The server, as `postgresql://user@host:5432/postgres`, or where its URL is found; by a socket, as
    `postgresql://user@/postgres?host=/var/run/postgresql`. The database in it is only where to connect first."""

    password: SecretReference | None = Field(default=None, examples=["env:BACKUP_POSTGRES_PASSWORD"])
    """Where the user's password is found, if the URL that is referred to does not hold it. Without it: `~/.pgpass` of
    the worker's user, or none."""

    databases: tuple[str, ...] = ()
    """The databases to capture, by name. Empty: all that can be connected to and are no templates."""

    roles: bool = True
    """Keep also roles and tablespaces; with the passwords' hashes where the user may read them (a superuser may)."""

    large_objects: bool = True
    """Keep also large objects. Only a superuser or their owner may read them."""

    connections: int = Field(default=2, ge=1, le=16, strict=True)
    """How many sessions read rows at once."""

    lock_timeout: Duration = timedelta(seconds=5)
    """How long to wait for a table that is locked, before this capture ends and is tried again later."""

    statement_timeout: Duration = timedelta(hours=6)
    """How long reading one table may take."""

    give_way: Duration = timedelta(seconds=10)
    """How long anyone, such as a migration, may have to wait for a table that is being captured, before this capture
    ends and is tried again later."""

    programs: Path | None = Field(default=None, examples=["/usr/lib/postgresql/17/bin"])
    """The folder of `pg_dump` and its companions. Without it: the one installed that suits the server's version."""

    _no_password = field_validator("url")(_without_password)


class PostgresTarget(TargetSettings):
    """A running PostgreSQL server to restore into. Roles come first; a database is made beside what is there, and gets
    its name when it is complete."""

    password: SecretReference | None = None
    """Where the user's password is found, if the URL that is referred to does not hold it."""

    database: str = ""
    """Only this database of the snapshot."""

    name: str = Field(default="", validation_alias=AliasChoices("as", "name"))
    """The name that the database gets. Without it: the one it had."""

    table: str = ""
    """Only this table, as `table` or `schema.table`, with its partitions: into a database that has it, its rows; into
    one that has not, the table; into a new one, the whole schema and the rows of this table."""

    schema_only: bool = False
    """Everything but rows, large objects and the values of sequences."""

    roles: bool = True
    """Make the roles that are not there. Those that are stay as they are."""

    jobs: int = Field(default=2, ge=1, le=64)
    """How many tables to load, and then indexes to build, at once."""

    programs: Path | None = None
    """The folder of `pg_restore` and its companions. Without it: the one installed that suits the versions."""

    _no_password = field_validator("url")(_without_password)


class Postgres:
    """A `Source` of a PostgreSQL server, and a `Served` one."""

    kind: ClassVar[str] = "postgres"
    Settings: ClassVar[type[SourceSettings]] = PostgresSettings
    Target: ClassVar[type[TargetSettings]] = PostgresTarget

    def __init__(self, name: str, settings: PostgresSettings) -> None:
        self.name = name
        self.settings = settings

    def check(self) -> list[Problem]:
        problems: list[Problem] = []
        try:
            server, _, databases = self._look()
            with closing(server.connect()) as connection, server.explained("can't look at the server"):
                problems += server_problems(connection, self._manner())
            for name in databases:
                problems += database_problems(server, name, self._manner())
        except BackupError as error:
            problems.append(problem_of(error))
        return problems

    def capture(self) -> ServerCapture:
        """Raises `Unavailable`, `Refused`, `SourceError`."""
        server, programs, databases = self._look()
        return ServerCapture(server, programs, databases, self._manner())

    def measure(self) -> int:
        """The bytes that the databases take on the server: about what a first capture reads."""
        server = self._server()
        with closing(server.connect()) as connection, server.explained("can't measure the databases"):
            sizes = dict(names_of(connection))
        return sum(max(0, size) for name, size in sizes.items() if name in (self.settings.databases or sizes))

    def restore(self, items: StoredItems, chosen: Iterable[Stored], into: Path, how: Restoring) -> list[str]:
        """As files that psql and pg_restore read; `README.txt` among them says how."""
        return restore_files(items, chosen, into, how)

    def examine(self, scratch: Path) -> Facts:
        return examine_folder(scratch)

    def restore_into(
        self, items: StoredItems, chosen: Iterable[Stored], target: PostgresTarget, how: Restoring
    ) -> list[str]:
        """Also raises `SettingsError`, `NotFound` where the snapshot has not what `target` asks for."""
        way = Way(
            database=target.database,
            name=target.name,
            table=target.table,
            schema_only=target.schema_only,
            roles=target.roles,
            jobs=target.jobs,
            programs=target.programs,
            overwrite=how.overwrite,
            owners=how.owners,
            again=how.again,
            run=how.run,
        )
        return restore_into_server(items, chosen, Server.at(target.url, target.password), way)

    def examine_at(self, target: PostgresTarget) -> Facts:
        """Of the target's database under the name that it has in the snapshot, or of all that this source takes."""
        server = Server.at(target.url, target.password)
        with closing(server.connect()) as connection, server.explained("can't look at the server"):
            there = [name for name, _ in names_of(connection)]
            programs = programs_for(connection.info.server_version // 10000, target.programs)
        if target.database or target.name:
            shown = target.database or target.name
            databases = {shown: target.name or shown}
        else:
            databases = {name: name for name in self.settings.databases or there}
        return examine_databases(server, programs, databases, self._manner())

    def rehearse(self, items: StoredItems, captured: Facts, scratch: Path) -> Rehearsal:
        paths = [item.entry.path for item in items]
        tables = sum(path.endswith(names.COPY) for path in paths)
        roles = names.ROLES in paths
        databases = captured.get("tables", {})
        with scratch_server(scratch, self.settings.programs, tables=tables, without=databases) as url:
            missed = self._put_back(items, url, databases, owners=roles)
            if not roles:
                missed.append("owners and privileges: the snapshot holds no roles")
            found, otherwise = rehearsed_facts(Server.at(url), items, captured, self._manner())
            return Rehearsal((found,), [*missed, *otherwise])

    def _put_back(self, items: StoredItems, url: str, databases: Iterable[str], *, owners: bool) -> list[str]:
        """Into a scratch server; without roles from the start again with those that something lacks, such as a policy,
        of which the server names one at a time."""
        target, made = PostgresTarget(url=url), set[str]()
        failure: BackupError | None = None
        missed: list[str] = []
        for left in reversed(range(_STARTS)):
            failure, missed = None, []
            try:
                missed = self.restore_into(items, items, target, Restoring(owners=owners, overwrite=bool(made)))
            except BackupError as error:
                failure = error
            told = [str(failure)] if failure else missed
            absent = {role for line in told if not owners and (role := absent_role(line))} - made
            if not absent or not left:
                break
            made |= absent
            start_again(url, databases, sorted(absent))
        if failure:
            raise failure
        return missed

    def rehearsing(self) -> None:
        program_folder(self.settings.programs)

    def _look(self) -> tuple[Server, Programs, list[str]]:
        """The server, the programs that suit it, and the databases to capture."""
        server = self._server()
        with closing(server.connect()) as connection, server.explained("can't look at the server"):
            major = connection.info.server_version // 10000
            there = dict(names_of(connection))
        if major < OLDEST:
            raise SourceError(f"{server.name} is of version {major}, and the oldest that can be captured is {OLDEST}")
        for name in self.settings.databases:
            if name not in there:
                known = ", ".join(f"`{each}`" for each in there)
                raise SourceError(f"{server.name} has no database `{name}`: mend `databases`; there is {known}")
        return server, programs_for(major, self.settings.programs), list(self.settings.databases or there)

    def _server(self) -> Server:
        return Server.at(self.settings.url, self.settings.password)

    def _manner(self) -> Manner:
        settings = self.settings
        return Manner(
            Patience(
                settings.lock_timeout.total_seconds(),
                settings.statement_timeout.total_seconds(),
                settings.give_way.total_seconds(),
            ),
            settings.connections,
            settings.roles,
            settings.large_objects,
        )

"""One moment of one database, which every connection and program that is told of it sees; given up rather than that a
migration has to wait for it."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tasks.errors import BackupError, Unavailable
from tasks.sources.postgresql import catalogue
from tasks.sources.postgresql.child import Child
from tasks.sources.postgresql.server import Server, pinned

if TYPE_CHECKING:
    import psycopg

_TRIES = 5
_LOCKED_AT_ONCE = 500
_LOOK_SECONDS = 0.5
_LAST_SECONDS = 5.0
_CATALOGUE_SECONDS = 300
SILENCE = 120.0
"""Seconds after which a server that answers nothing at all is given up."""

# Whoever waits for a table that the moment holds, and so would every query that comes after it.
_WAITING = """
SELECT w.pid, c.relname
FROM pg_catalog.pg_locks w
JOIN pg_catalog.pg_locks h ON h.locktype = 'relation' AND h.database = w.database AND h.relation = w.relation
LEFT JOIN pg_catalog.pg_class c ON c.oid = w.relation
WHERE w.locktype = 'relation' AND NOT w.granted AND w.mode = 'AccessExclusiveLock' AND h.granted AND h.pid = %s
"""
_END = """
SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
WHERE application_name = %s AND pid <> pg_catalog.pg_backend_pid()
"""


@dataclass(frozen=True, slots=True)
class Patience:
    """In seconds. `lock`: to wait for a table; `statement`: for one table's rows; `way`: that someone else may have to
    wait for a table that is being captured."""

    lock: float = 5.0
    statement: float = 6 * 3600.0
    way: float = 10.0


class Moment:
    """Use as a context: within it, every table is there as it was when it began. Raises `Unavailable` where a table is
    locked for too long, `Refused`."""

    def __init__(self, server: Server, database: str, patience: Patience) -> None:
        self.server, self.database, self.patience = server, database, patience
        self.snapshot = ""
        self.relations: list[catalogue.Relation] = []
        self.on_standby = False
        self._name = f"geometra-backup {secrets.token_hex(6)}"
        self._children: list[Child] = []
        self._lock, self._over = threading.Lock(), threading.Event()
        self._pulse = time.monotonic()
        self.fate: BackupError | None = None
        """Why the moment was lost or given up, where it was."""
        self._threads: list[threading.Thread] = []
        self._keeper: psycopg.Connection[Any] | None = None
        self._watching: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Moment:
        try:
            self._keeper, self._watching = self._connected(), self._connected()
            self._pulse = time.monotonic()
            for work in (self._watch, self._guard):
                self._threads.append(threading.Thread(target=work, name=work.__name__, daemon=True))
                self._threads[-1].start()
            with self._explained("can't take a snapshot"):
                self._begin(self._keeper)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for child in self._children:
            child.stop()
        for thread in self._threads:
            thread.join(_LAST_SECONDS)
            if thread.is_alive():
                _hang_up(self._watching)
                thread.join()
        for connection in (self._keeper, self._watching):
            if connection:
                connection.close()

    @property
    def keeper(self) -> psycopg.Connection[Any]:
        """The connection that holds the moment; for catalogue queries, within `explained`."""
        assert self._keeper is not None  # noqa: S101 - within the context
        return self._keeper

    def explained(self, doing: str) -> Any:
        """As `Server.explained`, unless the moment was given up: then that is why."""
        return self._explained(doing)

    def check(self) -> None:
        """Raises why the moment was lost, if it was: what was read since is of no use then."""
        if self.fate:
            raise self.fate
        with self._explained("lost the snapshot"):
            self.keeper.execute("SELECT 1")

    @contextmanager
    def taking_its_time(self) -> Iterator[None]:
        """A catalogue query within may take as long as reading a table."""
        change = "SELECT pg_catalog.set_config('statement_timeout', %s, true)"
        self.keeper.execute(change, (str(round(1000 * self.patience.statement)),))
        yield
        self.keeper.execute(change, (str(1000 * _CATALOGUE_SECONDS),))

    def start(self, command: list[str], *, doing: str, given: Any = None, **environment: str) -> Child:
        """A program that connects to this database; ended with the moment."""
        more = {"PGAPPNAME": self._name, **environment}
        options: dict[str, Any] = {} if given is None else {"given": given}
        child = Child(
            self.server,
            command,
            self.server.environment(self.database, **more),
            doing=f"database `{self.database}`: {doing}",
            patience=self.patience.statement + 60,
            **options,
        )
        with self._lock:
            if self.fate:
                child.end(self.fate)
            self._children.append(child)
        return child

    def forget(self, child: Child) -> None:
        """Ends a child that is not needed any more."""
        child.stop()
        with self._lock:
            self._children.remove(child)

    def session(self) -> list[str]:
        """The statements by which another session comes to see this moment."""
        milliseconds = {"lock_timeout": self.patience.lock, "statement_timeout": self.patience.statement}
        limits = {name: str(round(1000 * seconds)) for name, seconds in milliseconds.items()}
        settings = {**pinned(self.keeper.info.server_version), **limits}
        fixed = [f"SET {name} = {catalogue.literal(value)};" for name, value in settings.items()]
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
        return [*fixed, begin, f"SET TRANSACTION SNAPSHOT {catalogue.literal(self.snapshot)};"]

    def _connected(self) -> psycopg.Connection[Any]:
        settings = {
            "application_name": self._name,
            "lock_timeout": str(round(1000 * self.patience.lock)),
            "statement_timeout": str(1000 * _CATALOGUE_SECONDS),
        }
        return self.server.connect(self.database, **settings)

    def _begin(self, keeper: psycopg.Connection[Any]) -> None:
        """First the locks, then the snapshot: a table that is emptied or rewritten in between would look empty in it,
        as TRUNCATE and ALTER TABLE do not care for snapshots."""
        from psycopg import errors

        for _ in range(_TRIES):
            known = catalogue.relations(keeper)
            keeper.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            lockable = [relation for relation in known if relation.kind in "rp"]
            try:
                for at in range(0, len(lockable), _LOCKED_AT_ONCE):
                    names = ", ".join(f"ONLY {each.full_name}" for each in lockable[at : at + _LOCKED_AT_ONCE])
                    keeper.execute(f"LOCK TABLE {names} IN ACCESS SHARE MODE".encode())
            except (errors.UndefinedTable, errors.InvalidSchemaName):  # dropped meanwhile
                keeper.execute("ROLLBACK")
                continue
            row = keeper.execute("SELECT pg_catalog.pg_export_snapshot(), pg_catalog.pg_is_in_recovery()").fetchone()
            assert row is not None  # noqa: S101 - it always gives one
            now = catalogue.relations(keeper)
            if {(each.oid, each.full_name) for each in now if each.kind in "rp"} <= {
                (each.oid, each.full_name) for each in lockable
            }:
                (self.snapshot, self.on_standby), self.relations = row, now
                return
            keeper.execute("ROLLBACK")
        raise Unavailable(
            f"{self.server.name}: database `{self.database}`: tables come and go faster than they can be locked"
        )

    def _explained(self, doing: str) -> Any:
        return _Explained(self, f"database `{self.database}`: {doing}")

    def _watch(self) -> None:
        import psycopg

        connection, keeper = self._watching, self.keeper.info.backend_pid
        assert connection is not None  # noqa: S101 - within the context
        since: dict[int, float] = {}
        try:
            while not self._over.wait(_LOOK_SECONDS):
                waiting = dict(connection.execute(_WAITING, (keeper,)).fetchall())
                now = self._pulse = time.monotonic()
                since = {pid: since.get(pid, now) for pid in waiting}
                for pid, began in since.items():
                    if now - began >= self.patience.way:
                        self._give_up(self._waited(waiting[pid]))
                        connection.execute(_END, (self._name,))
                        return
        except psycopg.Error as error:
            self._give_up(self.server.translated(error, f"database `{self.database}`: lost the connection"))

    def _waited(self, table: str) -> BackupError:
        return Unavailable(
            f"{self.server.name}: database `{self.database}`: gave way to a session that has waited"
            f" {self.patience.way:.0f} s for the table `{table}`, such as a migration; this is tried again later"
        )

    def _guard(self) -> None:
        """Of a server that hangs, no connection is ever told: whoever waits for it is freed from here."""
        while not self._over.wait(_LOOK_SECONDS):
            silent = time.monotonic() - self._pulse
            if silent > SILENCE:
                where = f"{self.server.name}: database `{self.database}`"
                self._give_up(Unavailable(f"{where}: the server has not answered for {silent:.0f} s"))
                for connection in (self._keeper, self._watching):
                    _hang_up(connection)
                return

    def _give_up(self, why: BackupError) -> None:
        with self._lock:
            if self._over.is_set():
                return
            self.fate = self.fate or why
            for child in self._children:
                child.end(why)


def _hang_up(connection: psycopg.Connection[Any] | None) -> None:
    """From another thread: what waits for an answer fails at once."""
    if connection and not connection.closed:
        with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)


class _Explained:
    def __init__(self, moment: Moment, doing: str) -> None:
        self._moment, self._doing = moment, doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        import psycopg

        if isinstance(error, psycopg.Error):
            why = self._moment.server.translated(error, self._doing)
            if isinstance(error, psycopg.errors.UndefinedTable):  # no lock keeps a sequence
                why = Unavailable(f"{why}: it was dropped meanwhile; this is tried again later")
            raise (self._moment.fate or why) from error

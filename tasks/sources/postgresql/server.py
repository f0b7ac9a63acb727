"""One server: how to reach it, in this process and from a child, and what its errors mean. Everything that psycopg
raises is translated here."""

from __future__ import annotations

import logging
import os
import re
import select
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from tasks.errors import BackupError, NoSpace, Occupied, Refused, SettingsError, SourceError, Unavailable
from tasks.secret import Secret, url_of

if TYPE_CHECKING:
    import psycopg

OLDEST = 12
"""The oldest major version that the catalogue queries here understand."""

_PINNED = {
    "search_path": "",  # nothing that somebody put into a schema is called by its bare name
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmloption": "content",
    "row_security": "off",  # all rows, or an error
    "synchronize_seqscans": "off",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
}


def pinned(version: int) -> dict[str, str]:
    """What makes the text of a row the same in every session (without it, another time zone is another digest), and
    frees it from limits that are set for other users. `version` is the server's, as a number."""
    newer = {"idle_session_timeout": 140000, "transaction_timeout": 170000}
    return _PINNED | {name: "0" for name, since in newer.items() if version >= since}


_ALIVE = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
_KEPT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "USER", "LOGNAME")
_UNAVAILABLE = re.compile(r"08|53|57P0|57014|55P03|40|58|25P03|XX")
_PLACE = re.compile(r'(connection to server (?:at|on socket) "[^"]*"(?: \([^)]*\))?(?:, port \d+)? failed: )+')
_LENGTH = 300


@dataclass(frozen=True)
class Server:
    """`parameters` are libpq's, the password among them: never to be shown."""

    parameters: Mapping[str, str] = field(repr=False)
    name: str
    """As errors say it: host, port and user."""

    @classmethod
    def at(cls, url: Secret | str, password: Secret | None = None) -> Server:
        """Raises `SettingsError`, which never repeats the URL."""
        import psycopg
        from psycopg.conninfo import conninfo_to_dict

        try:
            found = {name: str(value) for name, value in conninfo_to_dict(url_of(url)).items() if value is not None}
        except psycopg.Error:
            where = f" in `{url}`" if isinstance(url, Secret) else ""
            raise SettingsError(
                f"the URL of the PostgreSQL server{where} is not understood:"
                " write it as `postgresql://user@host:5432/database`, with special characters as %-codes"
            ) from None
        if "sslpassword" in found:
            raise SettingsError("a client's TLS key that needs a password is not supported: use one without, mode 0600")
        if password is not None:
            found["password"] = password.read()
        host = found.get("host") or found.get("hostaddr") or os.environ.get("PGHOST") or "the local socket"
        port = found.get("port") or os.environ.get("PGPORT") or "5432"
        user = found.get("user") or os.environ.get("PGUSER") or "the worker's own user"
        return cls(found, f"PostgreSQL at {host}:{port} as `{user}`")

    @property
    def database(self) -> str:
        """The one that the URL names: where a connection is made that belongs to no database in particular."""
        return self.parameters.get("dbname") or os.environ.get("PGDATABASE") or "postgres"

    def connect(self, database: str | None = None, **settings: str) -> psycopg.Connection[Any]:
        """A connection that commits each statement, with everything pinned. Raises `Unavailable`, `Refused`,
        `SourceError`."""
        import psycopg

        name = database or self.database
        reach = {"connect_timeout": "10", **_ALIVE}
        fixed = {"dbname": name, "client_encoding": "UTF8"}
        # What it says of a connection that is lost is said again, as an error, and in words that mean something.
        logging.getLogger("psycopg").setLevel(logging.CRITICAL)
        with self.explained(f"can't connect to the database `{name}`"):
            merged: dict[str, Any] = {**reach, "application_name": "geometra-backup", **self.parameters, **fixed}
            connection = psycopg.connect(autocommit=True, **merged)
            try:
                # One by one: a pooler in between may not pass on what is asked for with the connection itself.
                for setting, value in {**pinned(connection.info.server_version), **settings}.items():
                    connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", (setting, value))
            except BaseException:
                connection.close()
                raise
        return connection

    @property
    def argument(self) -> str:
        """For a child's `--dbname`: what has no variable in the environment, and is no secret."""
        from psycopg.conninfo import make_conninfo

        without = {name: value for name, value in self.parameters.items() if name not in _variables()}
        return make_conninfo("", **{**_ALIVE, **without})

    def environment(self, database: str, **more: str) -> dict[str, str]:
        """For a child process: where to connect and with which password, in no argument."""
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {name: value for name, value in os.environ.items() if name.startswith("PG")}
        environment |= {"LC_ALL": "C", "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "geometra-backup"}
        variables = _variables()
        for name, value in {**self.parameters, "dbname": database}.items():
            if name in variables:
                environment[variables[name]] = value
        for unwanted in {"PGOPTIONS", "PGTZ", "PGDATESTYLE"} - {variables.get(name) for name in self.parameters}:
            environment.pop(unwanted, None)
        return {**environment, "PGCLIENTENCODING": "UTF8", **more}

    @contextmanager
    def explained(self, doing: str) -> Iterator[None]:
        """What psycopg raises within becomes one of `tasks/errors.py`; `doing` says what failed."""
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            raise self.translated(error, doing) from error

    def translated(self, error: psycopg.Error, doing: str) -> BackupError:
        """Never the detail or the context of an error: they quote rows."""
        import psycopg

        said = error.diag.message_primary or str(error).strip().partition("\n")[0] or "the connection was lost"
        otherwise = Unavailable if isinstance(error, psycopg.OperationalError) and not error.sqlstate else SourceError
        return self.fault(said, doing, state=error.sqlstate or "", otherwise=otherwise)

    def fault(
        self, said: str, doing: str, *, state: str = "", otherwise: type[BackupError] = SourceError
    ) -> BackupError:
        """The error for what the server, or a program of PostgreSQL, said; by its code where there is one."""
        said = self.without_secrets(_PLACE.sub("", said))[:_LENGTH].rstrip(" .\r\n")
        kind, advice = _meaning(said, state) or (otherwise, "")
        return kind(f"{self.name}: {doing}: {said}{f'; {advice}' if advice else ''}")

    def without_secrets(self, text: str) -> str:
        if secret := self.parameters.get("password"):
            text = text.replace(secret, "***")
        return " ".join(text.split())


@cache
def _variables() -> dict[str, str]:
    """libpq's parameters, and the variables that they are read from."""
    from psycopg.pq import Conninfo

    return {option.keyword.decode(): option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar}


_MEANINGS: tuple[tuple[str, str, type[BackupError], str], ...] = (
    # SQLSTATE, words of libpq and of programs where there is none, what it means, what to do about it.
    ("28P01", "password authentication failed", Refused, "is the password right that `password` or the URL refers to?"),
    ("", "no password supplied|password is missing", Refused, "set `password` to `env:NAME` or `file:PATH`"),
    ("28", "no pg_hba.conf entry|authentication failed|role .* does not exist|is not permitted to log in", Refused, ""),
    ("3D000", 'database ".*" does not exist', SourceError, "mend `databases`, or the name in the URL"),
    (
        "42501",
        "permission denied|must be superuser|must be owner",
        Refused,
        "give this user the right, or use a superuser; of a source, `check` names every right that is missing",
    ),
    (
        "0A000",
        "cannot truncate a table referenced in a foreign key",
        Occupied,
        "restore it into another database (`as`) and copy from there, or remove the tables' rows that refer to it",
    ),
    ("", "row-level security", Refused, "give the user the attribute BYPASSRLS"),
    ("53100", "No space left on device|could not extend file", NoSpace, "the server's disk is full"),
    ("55P03", "lock timeout|could not obtain lock", Unavailable, "something else holds a table for long: tried again"),
    ("53200", "max_locks_per_transaction", Unavailable, "raise `max_locks_per_transaction` on the server"),
    (
        "53300",
        "too many clients|too many connections|remaining connection slots",
        Unavailable,
        "raise `max_connections`",
    ),
    ("", "server closed the connection", Unavailable, "the server's log says why: a full disk ends it too"),
    (
        "",
        (
            "connection refused|no such file or directory|timeout expired|could not translate host name"
            "|failed to resolve host"
            "|could not receive data|could not send data|ssl connection has been closed|connection to server was lost"
            "|no connection to the server|starting up|shutting down|in recovery mode|terminating connection"
            "|connection timed out|no route to host|network is unreachable|connection reset|eof detected|is the server"
            "|consuming input failed|the connection is (closed|lost)|the connection was lost|broken pipe"
            "|sending query and params failed|invalid snapshot identifier|canceling statement"
            "|could not open relation with oid|cache lookup failed"  # what pg_dump was looking at was dropped
        ),
        Unavailable,
        "",
    ),
)


def _meaning(said: str, state: str) -> tuple[type[BackupError], str] | None:
    for code, words, kind, advice in _MEANINGS:
        if (state and code and state.startswith(code)) or (not state and re.search(words, said, re.IGNORECASE)):
            return kind, advice
    if state and _UNAVAILABLE.match(state):
        return Unavailable, ""
    return None


def means_something(said: str) -> bool:
    """Whether it is known what a program means by that."""
    return _meaning(said, "") is not None


def wait_readable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))

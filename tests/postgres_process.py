"""A real PostgreSQL server as a child of a test: on a Unix socket and a free loopback port, to be killed at will."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from tasks.sources.postgresql.programs import installed
from tests.free_port import free_port

PASSWORD = "never in the open: 'x' \"y\" %41 $HOME"
_SETTINGS = {
    "fsync": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "autovacuum": "off",
    "logging_collector": "off",
    "log_statement": "none",
    # In its own folder: a server that is killed leaves what is in /dev/shm for ever.
    "dynamic_shared_memory_type": "mmap",
}


def programs() -> Path | None:
    """The folder of the newest server's programs; None where there is no server."""
    found = (folder for folder in installed() if (folder / "initdb").exists() and (folder / "postgres").exists())
    return next(found, None)


class PostgresProcess:
    """One cluster. PostgreSQL refuses to run as root: there, it runs as the user `postgres` or `nobody`."""

    def __init__(self, folder: Path, bin_folder: Path, **settings: str) -> None:
        self.folder, self.bin_folder = folder, bin_folder
        self._settings = {**_SETTINGS, **settings}
        self._user = _user()
        self._child: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        if self._user:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        command = ["initdb", "--pgdata", str(self.data), "--username", "postgres", "--pwfile", str(secret)]
        command += [
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ]
        subprocess.run(self._program(command), check=True, capture_output=True, **self._as_user())
        secret.unlink()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def socket(self) -> Path:
        return self.folder / f".s.PGSQL.{self.port}"

    @property
    def pid(self) -> int:
        assert self._child
        return self._child.pid

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """By the socket, where nobody is asked for a password."""
        place = f"host={quote(str(self.folder))}&port={self.port}"
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?{place}"

    def tcp_url(self, database: str = "postgres", user: str = "postgres") -> str:
        """By the loopback, where the password is needed."""
        return f"postgresql://{quote(user, safe='')}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def connect(self, database: str = "postgres", user: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(database, user), autocommit=True, client_encoding="UTF8")

    def run(self, *statements: str, database: str = "postgres") -> None:
        with self.connect(database) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, query: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        with self.connect(database) as connection:
            return connection.execute(query.encode()).fetchall()

    def create(self, database: str) -> None:
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))

    def drop(self, database: str) -> None:
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))

    def start(self) -> None:
        options = {**self._settings, "port": str(self.port), "unix_socket_directories": str(self.folder)}
        options["listen_addresses"] = "127.0.0.1"
        command = ["postgres", "-D", str(self.data)]
        command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "server.log").open("ab") as log:
            self._child = subprocess.Popen(
                self._program(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as_user(),
            )
        deadline = time.monotonic() + 30
        while not self._answers():
            assert self._child.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline, "the test's PostgreSQL does not start"
            time.sleep(0.02)

    def stop(self) -> None:
        """At once, but in order: as `pg_ctl stop -m fast` does."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As a machine without power: the server and all its children, whatever they were doing."""
        if self._child:
            children = _children(self._child.pid)
            self._end(signal.SIGKILL)
            for pid in children:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def ensure(self) -> None:
        """Start it, unless it runs."""
        if self._child is None:
            self.start()
        self.thaw()

    def freeze(self) -> None:
        """All its processes, until `thaw`."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in (self._child.pid, *_children(self._child.pid)) if self._child else ():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end(self, number: signal.Signals) -> None:
        if self._child:
            self._child.send_signal(number)
            self._child.wait(30)
            self._child = None

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _program(self, command: list[str]) -> list[str]:
        return [str(self.bin_folder / command[0]), *command[1:]]

    def _as_user(self) -> dict[str, Any]:
        if not self._user:
            return {"cwd": self.folder}
        return {"cwd": self.folder, "user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}


def _user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise AssertionError("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`")


def _children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in found.read_text().split()] if found.exists() else []


@contextmanager
def postgres_process(bin_folder: Path, **settings: str) -> Iterator[PostgresProcess]:
    # Not pytest's own temporary folder: a socket's path is short, and another user must reach it.
    folder = Path(tempfile.mkdtemp(prefix="gbt-pg-"))
    try:
        server = PostgresProcess(folder, bin_folder, **settings)
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)

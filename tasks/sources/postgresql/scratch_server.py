"""A PostgreSQL server of this host's own, empty, for as long as something is restored into it and looked at."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Container, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tasks.errors import BackupError, Refused, SettingsError
from tasks.sources.kept_server import bare, check_socket, kept, wait_until
from tasks.sources.postgresql import creating
from tasks.sources.postgresql.catalogue import quoted
from tasks.sources.postgresql.programs import installed
from tasks.sources.postgresql.server import Server

SPARE = "postgres"
"""What programs connect to, where what they are to change is another."""

_OWNER, _PORT = "postgres", "5432"
_START_SECONDS = 120.0
_CONNECTIONS, _LOCKS = 100, 64  # as a server has that is not told otherwise
_LOCKS_OF_A_TABLE = 10  # with its indexes, and by more than one session
_TOLD = 300
_SETTINGS = {
    # What is in it is gone with it: nothing has to be on a disk.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "logging_collector": "off",
    # In its own folder: a server that is killed leaves what is in /dev/shm for ever.
    "dynamic_shared_memory_type": "mmap",
    "listen_addresses": "",
    "port": _PORT,
}
_REACHED = {
    # Said in full: what is left out libpq takes from PGHOSTADDR and the like, which are about another server.
    "hostaddr": "",
    "options": "",
    "channel_binding": "disable",
    "gssencmode": "disable",
    "sslmode": "disable",
    "target_session_attrs": "any",
    "require_auth": "",
}


def program_folder(chosen: Path | None = None) -> Path:
    """The newest server's programs here; or those in `chosen`, where a server is among them. Raises `SettingsError`."""
    for folder in [*([chosen] if chosen else []), *installed()]:
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            return folder
    raise SettingsError(
        "a drill of PostgreSQL needs its server on this host, of the same version or newer: install the package"
        " `postgresql` (it need not run)"
    )


@contextmanager
def scratch_server(
    folder: Path, programs: Path | None = None, *, tables: int = 0, without: Container[str] = ()
) -> Iterator[str]:
    """Its URL, for a superuser: by a socket in `folder`, where its files lie too, which nobody else may enter. So many
    `tables` can be looked at in one moment. The database `SPARE` is there unless it is to be `without` one of that
    name. Raises `SettingsError`, `Refused`, `Unavailable`."""
    bin_folder, user = program_folder(programs), _user()
    data, log = folder / "data", folder / "server.log"
    check_socket(data / f".s.PGSQL.{_PORT}")
    other: dict[str, Any] = {}
    if user:
        owner = pwd.getpwnam(user)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        other = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    command = [str(bin_folder / "initdb"), "--pgdata", str(data), "--username", _OWNER]
    command += ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
    made = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=bare(), **other)
    if made.returncode:
        said = (made.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise Refused(f"`initdb` can't make a scratch server in `{folder}`: {said[:_TOLD]}")
    settings = _SETTINGS | {"max_locks_per_transaction": str(_LOCKS + tables * _LOCKS_OF_A_TABLE // _CONNECTIONS)}
    settings |= {"unix_socket_directories": '"' + str(data).replace('"', '""') + '"'}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    url = _url(data)
    server = Server.at(url, None)
    # At SIGTERM it would wait for whoever is connected.
    started = [str(bin_folder / "postgres"), "-D", str(data), *options]
    with kept(started, ends_with="SIGINT", user=user, log=log) as child:
        wait_until(lambda: _answers(server), child, "a scratch server", seconds=_START_SECONDS, log=log)
        if SPARE in without:
            with closing(server.connect()) as connection, server.explained("can't make room"):
                connection.execute(f"DROP DATABASE {SPARE}".encode())  # it would sort as this server does
        yield url


def start_again(url: str, databases: Iterable[str], roles: Iterable[str]) -> None:
    """In a scratch server: without the `databases` that were restored, and with such `roles`."""
    server = Server.at(url, None)
    with closing(server.connect()) as connection, server.explained("can't start again"):
        for name in roles:
            connection.execute(f"CREATE ROLE {quoted(name)}".encode())
        for name in databases:
            if name != server.database:
                creating.drop(connection, name)


def _url(data: Path) -> str:
    from psycopg.pq import Conninfo

    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    told = {"host": str(data), "port": _PORT, **{name: value for name, value in _REACHED.items() if name in known}}
    return f"postgresql://{_OWNER}@/template1?{urlencode(told, quote_via=quote)}"


def _answers(server: Server) -> bool:
    try:
        server.connect().close()
    except BackupError:
        return False
    return True


def _user() -> str:
    """Who it runs as, where that has to be another: it refuses to run as root. Raises `Refused`."""
    if os.geteuid() != 0:
        return ""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise Refused("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody` here")

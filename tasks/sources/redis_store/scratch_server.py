"""A Redis or Valkey server of this host's own that loads one RDB, for as long as somebody looks into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import SettingsError, Unavailable
from tasks.sources.kept_server import check_socket, kept, wait_until
from tasks.sources.redis_store.connection import Connection
from tasks.sources.redis_store.place import Place
from tasks.sources.redis_store.program import servers

_LOADING_SECONDS = 6 * 3600.0
"""Some minutes for each 10 GB."""


def program_like(server: str) -> Path:
    """Of the programs here one of the same make as `server`, which is named as in the facts; else any. Raises
    `SettingsError` where there is none."""
    make, found = server.partition(" ")[0], list(servers())
    for program in [each for each in found if each.name.startswith(make)] or found:
        return program
    raise SettingsError("a drill of Redis needs its server on this host: install `redis-server` or `valkey-server`")


@contextmanager
def loaded(file: Path, like: str, databases: int) -> Iterator[Place]:
    """A server that has loaded `file`, on a socket beside it, and writes to no disk. Raises `Refused` with its own
    words where it does not load it, `SettingsError`, `Unavailable`."""
    program, socket = program_like(like), check_socket(file.with_name("server.sock"))
    settings, log = file.with_name("scratch.conf"), file.with_name("scratch.log")
    lines = [
        *("port 0", f"unixsocket {socket.name}", "unixsocketperm 700", "dir ./", f"dbfilename {file.name}"),
        *(f"databases {databases}", 'save ""', "appendonly no", "maxmemory 0"),
        *("repl-diskless-sync yes", "repl-diskless-sync-delay 0"),
    ]
    settings.write_text("\n".join(lines) + "\n")
    place = Place(socket=str(socket))
    what = f"a scratch server of `{program.name}` that loads `{file.name}`"
    with kept([str(program), settings.name], log=log) as child:
        wait_until(lambda: _answers(place), child, what, seconds=_LOADING_SECONDS, log=log)
        yield place


def _answers(place: Place) -> bool:
    try:
        with Connection(place) as connection:
            connection.ask("DBSIZE")
    except Unavailable:  # also while it loads
        return False
    return True

"""A server of this host's own for a while: it is gone when this process is, however that ends."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.errors import Refused, SettingsError, Unavailable

_END_SECONDS = 30.0
_PAUSE = 0.1
_TOLD = 300
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "USER", "LOGNAME")
_LONGEST_SOCKET = 103
_GRAVE = ("FATAL", "rror", "Can't")
_STAMP = re.compile(r"^\d+:\w .*? [#*] |^[\d-]+ [\d:.]+ \w+ \[\d+\] ")  # of Redis, and of PostgreSQL
_KEPT_ALL = ("LC_", "PYTHON")


@contextmanager
def kept(
    command: Sequence[str],
    *,
    ends_with: str = "SIGTERM",
    user: str = "",
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,  # beside what `bare` leaves of this process's own
) -> Iterator[subprocess.Popen[bytes]]:
    """`command`, as `user` if that is given, with what it prints in `log`. At the end it gets the signal that it
    `ends_with`, and is waited for."""
    keeper = Path(__file__).with_name("keeper.py")
    started = [sys.executable, "-P", str(keeper), ends_with, user, *command]
    with open(log or os.devnull, "ab") as told:
        child = subprocess.Popen(
            started,
            stdin=subprocess.PIPE,
            stdout=told,
            stderr=told,
            env=bare() | dict(environment or {}),
            cwd=log.parent if log else None,
        )
    with child:
        try:
            yield child
        finally:
            if child.stdin:
                child.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                child.wait(_END_SECONDS)


def bare() -> dict[str, str]:
    """This process's environment without what a server has no business with, such as a passphrase, or a token."""
    return {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_ALL)}


def wait_until(
    answers: Callable[[], bool], child: subprocess.Popen[bytes], what: str, *, seconds: float, log: Path | None = None
) -> None:
    """Raises `Refused` where the server ends before it answers, with the last thing that it said; `Unavailable` where
    it does not answer in time."""
    deadline = time.monotonic() + seconds
    while not answers():
        if child.poll() is not None:
            raise Refused(f"{what} does not start{_last_words(log)}")
        if time.monotonic() > deadline:
            raise Unavailable(f"{what} does not answer for {seconds:.0f} s{_last_words(log)}")
        time.sleep(_PAUSE)


def _last_words(log: Path | None) -> str:
    lines = log.read_text(errors="replace").splitlines() if log and log.exists() else []
    telling = [line for line in lines if line.strip()]
    grave = [line for line in telling if any(word in line for word in _GRAVE)] or telling
    said = "; ".join(_STAMP.sub("", line).strip() for line in grave[-2:])
    return f": {said[:_TOLD]}" if said else ""


def check_socket(path: Path) -> Path:
    """A Unix socket's path itself. Raises `SettingsError` where the system does not take one so long."""
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        raise SettingsError(
            f"`{path}` is too long for a server's socket: let `scratch` be a folder with a shorter path"
        )
    return path


@contextmanager
def free_port(port: int = 0) -> Iterator[int]:
    """A port of loopback, this one or any, for one server and for nobody else for as long as this lasts.

    Linux gives a port that is bound to nobody who asks for any, nor to a connection; and lets it be bound once more by
    who sets `SO_REUSEADDR` and names it, as servers do, for as long as nobody listens there (`ip(7)`, `socket(7)`).
    Other systems do not, and there it may be taken before the server is up. Raises `OSError` where it is taken.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        port = holder.getsockname()[1]
        if sys.platform != "linux":
            holder.close()
        yield port

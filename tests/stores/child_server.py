"""A server as a child of a test: on a free port of loopback, waited for, and ended by its process id."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def child_server(
    command: Sequence[str], port: int | None, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Runs until left. Raises where it does not listen on its port, if it has one, within a minute."""
    with log.open("wb") as console:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            env={**os.environ, **(environment or {})},
            cwd=log.parent,
        )
    try:
        deadline = time.monotonic() + 60
        while port and not _listens(port):
            assert child.poll() is None, f"{command[0]} ended:\n{log.read_text(errors='replace')[-3000:]}"
            assert time.monotonic() < deadline, f"{command[0]} does not listen on {port}"
            time.sleep(0.05)
        yield
    finally:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(10)
        child.kill()
        child.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

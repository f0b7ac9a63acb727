"""Chroma for tests: an application of its own process that fills, reads and writes a folder, and its server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.free_port import free_port

_CHILD = Path(__file__).with_name("chroma_child.py")
_ENVIRONMENT = {**os.environ, "ANONYMIZED_TELEMETRY": "False"}


def chroma(verb: str, folder: Path | str, *arguments: str, seconds: float = 100) -> str:
    """What the child prints; it has ended, so nobody has the folder open."""
    command = [sys.executable, str(_CHILD), verb, str(folder), *arguments]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, env=_ENVIRONMENT, capture_output=True, text=True, check=False, timeout=seconds
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def seen(folder: Path | str) -> dict[str, Any]:
    """Everything that Chroma itself sees in a folder, or at a server: `dump` and `answers`."""
    found: dict[str, Any] = json.loads(chroma("dump", folder))
    return found


@contextmanager
def writer(folder: Path | str, pause: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """An application that writes to `folder` until the end of the context; it must end well."""
    process = subprocess.Popen(
        [sys.executable, str(_CHILD), "write", str(folder), str(pause)],
        env=_ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    with process.stdin, process.stdout:
        try:
            assert process.stdout.readline() == "writing\n"
            yield process
            assert process.poll() in (None, -signal.SIGKILL), "the writer failed"
        finally:
            process.stdin.close()
            try:
                code = process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
    assert code in (0, -signal.SIGKILL), "the writer failed"


class ChromaServer:
    """`chroma run` of the Chroma that `python` has, on a free port of loopback; keeps its data in `folder` over a
    `kill` and a `start`."""

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.folder = folder
        self._program = str(Path(python).with_name("chroma"))
        self._child: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [self._program, "run", "--path", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        self._child = subprocess.Popen(
            command, env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while not self._answers():
            assert self._child.poll() is None, "the test's Chroma does not start"
            assert time.monotonic() < deadline, "the test's Chroma does not answer"
            time.sleep(0.05)

    def kill(self) -> None:
        if self._child:
            self._child.kill()
            self._child.wait()
            self._child = None

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/v2/heartbeat", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def chroma_server(folder: Path, python: str = sys.executable) -> Iterator[ChromaServer]:
    server = ChromaServer(folder, python)
    try:
        server.start()
        yield server
    finally:
        server.kill()

"""A program of PostgreSQL as a child process: what it prints is whole, or it is an error."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

from tasks.errors import BackupError, SourceError, Unavailable
from tasks.sources.postgresql.server import Server, means_something, wait_readable

_PIPE = 1 << 20
_COMPLAINTS = 1 << 16
_PATIENCE = 5.0


class Child:
    """Runs `command`, which connects to `server` by its `environment`. `doing` says in errors what it was for.

    `given` is a file that it reads, or `subprocess.PIPE`, for `write`. A complaint with the words `unheeded` in it is
    passed over. Use `read` until it returns nothing, or `finish`, and `stop` in any case.
    """

    def __init__(
        self,
        server: Server,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        doing: str,
        given: IO[bytes] | int = subprocess.DEVNULL,
        patience: float = 3600.0,
        unheeded: str = "",
    ) -> None:
        self.doing = doing
        self.fate: BackupError | None = None
        """Why it was stopped, where it was: what it says itself matters less then."""
        self._server, self._patience, self._unheeded = server, patience, unheeded
        self._lock, self._ended = threading.Lock(), False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, it stays open as long as the process runs
        try:
            self._process = subprocess.Popen(
                command, bufsize=0, stdin=given, stdout=subprocess.PIPE, stderr=self._errors, env=dict(environment)
            )
        except OSError as error:
            self._errors.close()
            raise SourceError(f"`{command[0]}` can't be run: {error.strerror}") from error
        assert self._process.stdout is not None  # noqa: S101, for the type checker
        self._pipe = self._process.stdout
        if sys.platform == "linux":
            with suppress(OSError):  # the limit of what one user's pipes may hold is reached
                fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE)

    @property
    def pid(self) -> int:
        return self._process.pid

    def readinto(self, buffer: memoryview) -> int:
        """0 only at the end, when it has ended well. Raises what its end means otherwise."""
        self._wait_for_output()
        count = os.readv(self._pipe.fileno(), (buffer,)) if len(buffer) else 0
        if not count:
            self.finish()
        return count

    def read(self, size: int) -> bytes:
        """As `readinto`."""
        self._wait_for_output()
        found = os.read(self._pipe.fileno(), size)
        if not found:
            self.finish()
        return found

    def write(self, data: memoryview) -> None:
        """To a child that was given `subprocess.PIPE`."""
        assert self._process.stdin is not None  # noqa: S101, for the type checker
        try:
            while data:
                data = data[self._process.stdin.write(data) :]
        except BrokenPipeError:
            self.finish()
            raise Unavailable(f"{self._server.name}: {self.doing}: ended before it had read everything") from None

    def finish(self) -> list[str]:
        """Wait for its end: the lines of its warnings. Raises what it complained of."""
        if self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            code = self._process.wait(self._patience)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{self._server.name}: {self.doing}: does not come to an end") from None
        lines = self.complaints()
        if self.fate:
            raise self.fate
        if code:
            raise self._error(code, lines)
        return lines

    def complaints(self) -> list[str]:
        if self._errors.closed:
            return []
        self._errors.seek(0)
        text = self._errors.read(_COMPLAINTS).decode("utf-8", "replace")
        lines = [line for line in map(str.strip, text.splitlines()) if line]
        return [line for line in lines if not self._unheeded or self._unheeded not in line]

    def end(self, why: BackupError) -> None:
        """From another thread: whoever reads from it finds out `why`."""
        with self._lock:
            self.fate = self.fate or why
            if not self._ended and self._process.poll() is None:
                self._process.kill()

    def stop(self) -> None:
        """Ends it if it still runs, and frees what it holds."""
        with self._lock:
            self._ended = True
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe:
                    with suppress(BrokenPipeError):
                        pipe.close()
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                try:
                    self._process.wait(_PATIENCE)
                except subprocess.TimeoutExpired:
                    self._process.kill()
            self._process.wait()
            self._errors.close()

    def _wait_for_output(self) -> None:
        if not self.fate and not wait_readable(self._pipe.fileno(), self._patience):
            minutes = f"{self._patience / 60:.0f} minutes"
            raise Unavailable(f"{self._server.name}: {self.doing}: nothing came for {minutes}")
        if self.fate:
            raise self.fate

    def _error(self, code: int, lines: list[str]) -> BackupError:
        if code < 0:
            name = signal.Signals(-code).name
            return Unavailable(f"{self._server.name}: {self.doing}: `{self._name}` was ended by {name}")
        grave = [line for line in lines if "error:" in line or "ERROR:" in line or "FATAL:" in line]
        # What the server said at last tells more than which of many things the program could not do for it.
        telling = [line for line in (*grave, *lines) if means_something(line)]
        said = (telling or grave or lines or [f"`{self._name}` ended with code {code} and no word"])[0]
        return self._server.fault(_plain(said), self.doing)

    @property
    def _name(self) -> str:
        first = self._process.args[0] if isinstance(self._process.args, (list, tuple)) else self._process.args
        return os.path.basename(str(first))


def _plain(line: str) -> str:
    """What was said, without who said it."""
    for mark in ("FATAL:", "ERROR:", "error:"):
        if mark in line:
            return line.rpartition(mark)[2].strip()
    return line

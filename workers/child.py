"""A Celery process that a command starts beside itself: started again if it dies, ended when the command ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from workers.parent import WITH_PARENT

_LONGEST_PAUSE = 30.0
"""Seconds before it is started again; doubled each time, from one. A step that kills its workers is given up anyway."""


class Child:
    """`celery -A workers ...`, in a session of its own, so that an interrupt from the keyboard does not reach it. Its
    console goes to a file. `revive` is called before it is started again."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], console: Path, revive: Callable[[], None]
    ) -> None:
        self._command = [sys.executable, "-m", "celery", "-A", "workers", *command]
        self._environment = {**environment, WITH_PARENT: "1"}
        self._console, self._revive = console, revive
        self._ending = threading.Event()
        self._turn = threading.Lock()
        self._process = self._started()
        self._watch: threading.Thread | None = None

    def alive(self) -> bool:
        return self._process.poll() is None

    def keep_alive(self) -> None:
        """From now on it is started again when it dies."""
        self._watch = threading.Thread(target=self._keep, name="child", daemon=True)
        self._watch.start()

    def end(self, *, patience: float) -> None:
        """Warm: tasks under way come to their end. If that takes longer than `patience` seconds, they are handed back,
        and what is left is killed."""
        self._ending.set()
        with self._turn:
            process = self._process
        ways = ((signal.SIGTERM, patience), (signal.SIGQUIT, 5.0)) if patience else ()
        for way, seconds in ways:
            if process.poll() is None:
                process.send_signal(way)
                try:
                    process.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue
        self._kill(process)
        if self._watch:
            self._watch.join()

    def _started(self) -> subprocess.Popen[bytes]:
        self._console.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._console.open("ab") as console:
            return subprocess.Popen(
                self._command,
                env={**os.environ, **self._environment},
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def _keep(self) -> None:
        pause = 1.0
        while True:
            self._process.wait()
            if self._ending.wait(pause):
                return
            pause = min(2 * pause, _LONGEST_PAUSE)
            self._kill(self._process)
            self._revive()
            with self._turn:
                if self._ending.is_set():
                    return
                self._process = self._started()

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        """All processes of its session, also those that outlived it."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin:
            process.stdin.close()

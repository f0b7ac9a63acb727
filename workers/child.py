"""A Celery process that a command starts beside itself: started again if it dies, ended when the command ends."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tasks.destinations.file_errors import explained
from workers.parent import WITH_PARENT

_LONGEST_PAUSE = 30.0
"""Seconds before it is started again; doubled each time, from one. A step that kills its workers is given up anyway."""


class Child:
    """`work`, in a process and a session of its own, so that an interrupt from the keyboard does not reach it. Its
    console goes to a file. `revive` is called before it is started again. Raises what `explained` does where that file
    can't be written: nobody would learn why it does not start.

    The first is forked off while this process has no threads: all that it needs is imported already, which saves the
    start of another Python. One that is started again, when there are threads, is a new Python; so `work` can be
    pickled.
    """

    def __init__(
        self, work: Callable[[], None], environment: Mapping[str, str], console: Path, revive: Callable[[], None]
    ) -> None:
        self._work, self._environment = work, dict(environment)
        self._console, self._revive = console, revive
        _try_console(console)
        self._ending = threading.Event()
        self._turn = threading.Lock()
        self._process, self._lifeline = self._started()
        self._watch: threading.Thread | None = None

    def alive(self) -> bool:
        return bool(self._process.is_alive())

    def ready(self, seconds: float) -> bool:
        """Wait until it says that it is; False if it dies before, or does not in time."""
        with suppress(EOFError, OSError):
            return self._lifeline.poll(seconds) and bool(self._lifeline.recv_bytes())
        return False

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
            if process.is_alive():
                with suppress(ProcessLookupError):
                    os.kill(process.pid, way)
                process.join(seconds)
        self._kill()
        if self._watch:
            self._watch.join()

    def _started(self) -> tuple[Any, Connection]:
        context: Any = multiprocessing.get_context("fork" if threading.active_count() == 1 else "spawn")
        forked = context.get_start_method() == "fork"
        theirs, ours = context.Pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        process = context.Process(
            target=_enter, args=(self._work, self._environment, self._console, (theirs, ours if forked else None))
        )
        process.start()
        theirs.close()
        return process, ours

    def _keep(self) -> None:
        pause = 1.0
        while True:
            self._process.join()
            if self._ending.wait(pause):
                return
            pause = min(2 * pause, _LONGEST_PAUSE)
            self._kill()
            self._revive()
            with self._turn:
                if self._ending.is_set():
                    return
                self._process, self._lifeline = self._started()

    def _kill(self) -> None:
        """All processes of its session, also those that outlived it."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()
        self._lifeline.close()


def _try_console(console: Path) -> None:
    with explained("log to", console):
        with suppress(FileExistsError):  # no folder: opening the file says what is in its place
            console.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(_opened(console))


def _opened(console: Path) -> int:
    return os.open(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _enter(
    work: Callable[[], None], environment: dict[str, str], console: Path, ends: tuple[Connection, Connection | None]
) -> None:
    """In the new process: nothing of the command's is left but what was imported."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    lifeline, inherited = ends
    if inherited is not None:
        inherited.close()  # or the command's end would never be seen
    console.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may be gone since the first
    output = _opened(console)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
    os.close(output)
    os.environ.update(environment, **{WITH_PARENT: str(lifeline.fileno())})
    # Else the pool makes a folder there for what it shares, which a worker that is killed leaves, as each `run` ends.
    process: Any = multiprocessing.current_process()
    process._config["tempdir"] = tempfile.gettempdir()  # noqa: SLF001 - it can be told in no other way
    gc.freeze()  # what was imported stays shared with the processes that this one forks
    work()

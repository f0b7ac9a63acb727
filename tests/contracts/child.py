"""Work in a forked child: for what shows only between processes, or to another user."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")

FORK = multiprocessing.get_context("fork")


class Child(Generic[T]):
    """`work` running in a child. What it returns or raises crosses back by pickle."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._receiver, sender = FORK.Pipe(duplex=False)
        self._process = FORK.Process(target=_run, args=(work, sender), daemon=True)
        with sender, warnings.catch_warnings():
            # From Python 3.12 on it warns of threads; a client's own threads are just what is to be tested.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()

    def result(self, seconds: float = 60) -> T:
        """What `work` returned, or its error raised here."""
        try:
            if not self._receiver.poll(seconds):
                raise TimeoutError(f"the child did not end within {seconds} s")
            good, value = self._receiver.recv()
        finally:
            self.kill()
        if good:
            result: T = value
            return result
        raise value

    def kill_after(self, seconds: float) -> None:
        """Kill it so long after it called `begun`."""
        assert self._receiver.poll(60), "the child never began"
        assert self._receiver.recv() is None
        time.sleep(seconds)
        self.kill()

    def kill(self) -> None:
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()
        self._receiver.close()


_sender: Connection | None = None


def begun() -> None:
    """Called by `work`: what comes now is what `kill_after` is to interrupt."""
    assert _sender is not None
    _sender.send(None)


def as_nobody(work: Callable[[], T]) -> Callable[[], T]:
    """The same work without root's rights, which no mode restrains."""

    def restrained() -> T:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        return work()

    return restrained


def passable(folder: Path) -> None:
    """Let other users get to a folder of this test's: all above it must let them through, pytest's own too."""
    while folder != Path("/"):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
        folder = folder.parent


def _run(work: Callable[[], Any], sender: Connection) -> None:
    global _sender  # noqa: PLW0603 - a child has one parent
    _sender = sender
    try:
        message = (True, work())
    except Exception as error:  # noqa: BLE001 - raised again in the parent
        message = (False, error)
    sender.send(message)

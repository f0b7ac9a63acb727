"""Everything that a run needs, in one command, for one machine: broker, worker and beat as children of this process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from celery import Celery

from tasks.broker import is_embedded
from tasks.configuration import VARIABLE
from tasks.errors import Unavailable
from tasks.installation import PASSPHRASE, Installation
from tasks.settings import Settings
from workers.child import Child
from workers.pools import queues
from workers.private_broker import hand_back, private_broker

_READY_SECONDS = 60.0
_ABANDONED = timedelta(minutes=1)
"""After this silence a run that another command began, and that was killed, is taken up."""
_PATIENCE = 24 * 3600.0
"""Seconds that a task under way may take when the command ends by itself."""


@contextmanager
def embedded(
    settings: Settings,
    file: Path,
    *,
    pools: Sequence[str] = (),
    beat: bool = False,
    concurrency: int = 2,
    passphrase: str | None = None,
) -> Iterator[Celery]:
    """The Celery app, connected, with a worker for some pools (or all) that is ready, and that is started again if it
    dies. `file` is the backup.toml that `settings` came from. The broker is a private one, unless one is configured.

    Leaving it lets the tasks under way come to their end; leaving it by an exception does not wait: they are taken up
    by the next worker. Raises `Unavailable`.
    """
    with ExitStack() as stack:
        private = is_embedded(settings)
        if private:
            stack.enter_context(private_broker(settings))
        environment = {VARIABLE: str(file.absolute())}
        if passphrase is not None:
            environment[PASSPHRASE] = passphrase
        os.environ[VARIABLE] = environment[VARIABLE]

        def revive() -> None:
            if private:
                hand_back(settings)
            tend(Installation(settings), datetime.now(UTC), timedelta())

        if private:
            hand_back(settings)
        console = settings.state / "logs" / "console.log"
        name = f"{settings.host}-{os.getpid()}@{settings.host}"
        command = ["worker", "--hostname", name, "--queues", ",".join(queues(settings.host, pools))]
        command += ["--concurrency", str(concurrency), "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
        worker = stack.enter_context(_running(Child(command, environment, console, revive)))
        if beat:
            beating = ["beat", "--loglevel", "INFO", "--pidfile", ""]
            stack.enter_context(_running(Child(beating, environment, console, lambda: None))).keep_alive()
        # Only now: it takes a second, in which the worker starts too.
        from tasks.plan import tend
        from workers.celery import app

        if private:
            tend(Installation(settings), datetime.now(UTC), _ABANDONED)
        _await_ready(app, name, worker, console)
        worker.keep_alive()
        yield app
        if _is_idle(app, name):
            worker.end(patience=0)  # nothing is under way, and a warm shutdown takes two seconds all the same


@contextmanager
def _running(child: Child) -> Iterator[Child]:
    try:
        yield child
    except BaseException:
        child.end(patience=0)
        raise
    else:
        child.end(patience=_PATIENCE)


def _await_ready(app: Celery, name: str, worker: Child, console: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    control: Any = app.control
    while not control.broadcast("ping", reply=True, destination=[name], limit=1, timeout=0.25):
        if not worker.alive() or time.monotonic() > deadline:
            raise Unavailable(f"the worker does not start: `{console}` says why")


def _is_idle(app: Celery, name: str) -> bool:
    """Whether the worker has nothing to do; the last task may take a moment to be over."""
    control: Any = app.control
    for _ in range(10):
        replies = control.broadcast("active", reply=True, destination=[name], limit=1, timeout=1.0)
        if replies and not any(reply.get(name) for reply in replies):
            return True
        time.sleep(0.02)
    return False

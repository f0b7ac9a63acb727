"""Everything that a run needs, in one command, for one machine: broker, worker and beat as children of this process."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from tasks.broker import is_embedded
from tasks.configuration import VARIABLE
from tasks.errors import BackupError, NoSpace, Unavailable
from tasks.installation import PASSPHRASE, Installation
from tasks.room import free_at
from tasks.settings import Settings
from workers.child import Child
from workers.own_spool import OwnSpool
from workers.pools import queues
from workers.private_broker import hand_back, keep_running, private_broker

_READY_SECONDS = 60.0
_LEAST_FREE = 1 << 20
"""Bytes below which a console need not say why a worker did not start, and may not be able to."""
_KEEP_SECONDS = 5.0
_ABANDONED = timedelta(minutes=1)
"""After this silence a run that another command began, and that was killed, is taken up."""
_PATIENCE = 24 * 3600.0
"""Seconds that a task under way may take when the command ends by itself."""
_CONSOLE = "WARNING"
"""The least that comes to `console.log`, which never ends: all else is in the dated files, of which old ones go."""


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
    by the next worker. Raises `Unavailable`, `NoSpace`.
    """
    with ExitStack() as stack:
        private = is_embedded(settings)
        if private:
            stack.enter_context(private_broker(settings, file))
        environment = {VARIABLE: str(file.absolute())}
        if passphrase is not None:
            environment[PASSPHRASE] = passphrase
        os.environ[VARIABLE] = environment[VARIABLE]

        keeper = _Keeper(settings, private, lasting=beat)
        keeper.hand_back()
        from workers.celery import app

        stack.callback(_forget_answers)
        console = settings.state / "logs" / "console.log"
        name = f"{settings.host}-{os.getpid()}@{settings.host}"
        work = partial(_work, name, queues(settings.host, pools), concurrency, lasting=beat)
        worker = stack.enter_context(_running(Child(work, environment, console, keeper.revive)))
        if beat:
            stack.enter_context(_running(Child(_beat, environment, console, lambda: None))).keep_alive()
        stack.enter_context(keeper.keeping())
        if not worker.ready(_READY_SECONDS):
            free = free_at(console.parent)
            if free is not None and free < _LEAST_FREE:
                raise NoSpace(f"no room to start the worker: free some at `{settings.state}`")
            raise Unavailable(f"the worker does not start: `{console}` says why")
        worker.keep_alive()
        yield app
        with suppress(redis.RedisError, OperationalError):
            if private and _is_idle(app, name):
                # Nothing is under way, and a warm shutdown takes two seconds all the same. Should another command share
                # the broker, a message of its run may have come into this worker's hands just now.
                worker.end(patience=0)
                keeper.hand_back()


class _Keeper:
    """Keeps the private broker up and sees to unfinished runs, as beat does where it runs. What can't be done now is
    tried again soon."""

    def __init__(self, settings: Settings, private: bool, *, lasting: bool) -> None:
        self._installation, self._private = Installation(settings), private
        self._lasting = lasting
        self._over = threading.Event()

    def hand_back(self) -> None:
        if self._private:
            with suppress(Unavailable):
                hand_back(self._installation.settings)

    def revive(self) -> None:
        """After the worker was killed, and before it is started again."""
        self._keep()
        self.hand_back()
        self._tend(timedelta())

    @contextmanager
    def keeping(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._tend(_ABANDONED)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _run(self) -> None:
        from workers.celery import app

        visibility = float(app.conf.broker_transport_options["visibility_timeout"])
        tended = time.monotonic()
        while not self._over.wait(min(_KEEP_SECONDS, visibility / 4)):
            self._keep()
            if time.monotonic() - tended >= visibility / 4:
                self._tend(timedelta(seconds=visibility))
                tended = time.monotonic()

    def _keep(self) -> None:
        if self._private:
            with suppress(BackupError, OSError):
                keep_running(self._installation.settings)

    def _tend(self, silence: timedelta) -> None:
        from tasks.tend import RETURN, tend

        # Who asks for a run by hand is not made to wait for an old one.
        patience = RETURN if self._lasting else timedelta()
        with suppress(Unavailable, OperationalError):
            tend(self._installation, self._installation.record.now(), silence, patience=patience)
        _forget_answers()


def _work(name: str, queues: tuple[str, ...], concurrency: int, *, lasting: bool) -> None:
    """`celery worker`, without its command line. One that ends with its command leaves in the spool what that did not
    ask for: or whoever backs up one small source would wait for all that another one could not send until now."""
    from workers.celery import app

    if not lasting:
        app.steps["consumer"].discard(OwnSpool)

    worker: Any = app.Worker(
        hostname=name,
        queues=list(queues),
        concurrency=concurrency,
        without_gossip=True,
        without_mingle=True,
        loglevel=_CONSOLE,
    )
    worker.start()
    sys.exit(worker.exitcode)


def _beat() -> None:
    """`celery beat`, likewise."""
    from workers.celery import app

    beat: Any = app.Beat(loglevel=_CONSOLE)
    beat.run()


@contextmanager
def _running(child: Child) -> Iterator[Child]:
    try:
        yield child
    except BaseException:
        child.end(patience=0)
        raise
    else:
        child.end(patience=_PATIENCE)


def _forget_answers() -> None:
    """To what this thread has sent. Celery listens for them until Python clears away what stands for each: in the end,
    with the broker gone, it would complain that it can't stop. Nobody here asks for any, the record has them all."""
    from workers.celery import app

    backend: Any = app.backend
    backend.result_consumer.subscribed_to.clear()


def _is_idle(app: Celery, name: str) -> bool:
    """Whether the worker has nothing to do. The last task may take a moment to be over."""
    control: Any = app.control
    for _ in range(10):
        replies = control.broadcast("active", reply=True, destination=[name], limit=1, timeout=1.0)
        if replies and not any(reply.get(name) for reply in replies):
            return True
        time.sleep(0.02)
    return False

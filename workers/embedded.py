"""Everything that a run needs, in one command, for one machine: broker, worker and beat as children of this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from celery import Celery

from tasks.broker import is_embedded
from tasks.configuration import VARIABLE as CONFIGURATION
from tasks.errors import Unavailable
from tasks.installation import PASSPHRASE
from tasks.settings import Settings
from workers.parent import WITH_PARENT
from workers.pools import queues
from workers.private_broker import private_broker

_READY_SECONDS = 60.0


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
    """The Celery app, connected, with a worker for some pools (or all) that is ready. `file` is the backup.toml that
    `settings` came from. The broker is a private one, unless one is configured. Leaving it lets running tasks end;
    leaving it by an exception hands them back, to be taken up by the next worker. Raises `Unavailable`."""
    with ExitStack() as stack:
        if is_embedded(settings):
            stack.enter_context(private_broker(settings))
        environment = {CONFIGURATION: str(file.absolute()), WITH_PARENT: "1"}
        if passphrase is not None:
            environment[PASSPHRASE] = passphrase
        os.environ[CONFIGURATION] = environment[CONFIGURATION]
        name = f"{settings.host}-{os.getpid()}@{settings.host}"
        worker = ["worker", "--hostname", name, "--queues", ",".join(queues(settings.host, pools))]
        worker += ["--concurrency", str(concurrency), "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
        children = [stack.enter_context(_child(worker, environment, settings))]
        if beat:
            children.append(stack.enter_context(_child(["beat", "--loglevel", "INFO"], environment, settings)))
        # Only now: it takes a second, in which the worker starts too.
        from workers.celery import app

        _await_ready(app, name, children[0], settings)
        yield app


@contextmanager
def _child(
    command: Sequence[str], environment: dict[str, str], settings: Settings
) -> Iterator[subprocess.Popen[bytes]]:
    log = settings.state / "logs"
    log.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (log / "console.log").open("ab") as console:
        child = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "workers", *command],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=console,
            stderr=console,
            start_new_session=True,
        )
    try:
        yield child
    except BaseException:
        _end(child, (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))
        raise
    else:
        _end(child, (signal.SIGTERM, 3600.0), (signal.SIGKILL, 5.0))


def _end(child: subprocess.Popen[bytes], *ways: tuple[signal.Signals, float]) -> None:
    """The child and, at the last, all processes of the session that was made for it."""
    for way, seconds in ways:
        if child.poll() is None:
            if way is signal.SIGKILL:
                os.killpg(child.pid, way)
            else:
                child.send_signal(way)
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
    if child.stdin:
        child.stdin.close()


def _await_ready(app: Celery, name: str, child: subprocess.Popen[bytes], settings: Settings) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    control: Any = app.control
    while not control.broadcast("ping", reply=True, destination=[name], limit=1, timeout=0.25):
        if child.poll() is not None or time.monotonic() > deadline:
            raise Unavailable(f"the worker does not start: `{settings.state / 'logs' / 'console.log'}` says why")

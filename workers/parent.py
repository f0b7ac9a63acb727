"""The line between a command and the worker or beat that it started: this one tells when it is ready, and ends when the
command is gone, however it went.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from typing import Any

import redis
from celery import signals

from tasks.broker import broker_url, connect
from tasks.installation import current

WITH_PARENT = "GEOMETRA_BACKUP_WITH_PARENT"
"""The number of a descriptor: this end of the line."""

_LOOK_SECONDS = 1.0


def line() -> Connection | None:
    """This end of it; None where no command started this process."""
    number = os.environ.get(WITH_PARENT)
    return Connection(os.dup(int(number))) if number else None


@signals.worker_init.connect
@signals.beat_init.connect
def _watch(**_: Any) -> None:
    if (parent := line()) is not None:
        threading.Thread(target=_end_with_parent, args=(parent,), name="parent", daemon=True).start()


@signals.worker_ready.connect
def _tell(**_: Any) -> None:
    if (parent := line()) is not None:
        with parent:
            parent.send_bytes(b"ready")


def _end_with_parent(parent: Connection) -> None:
    """Warm, so that what is under way comes to its end; but without a broker it never would."""
    with suppress(EOFError, OSError):
        parent.recv_bytes()
    os.kill(os.getpid(), signal.SIGTERM)
    while _has_broker():
        time.sleep(_LOOK_SECONDS)
    os.killpg(0, signal.SIGKILL)


def _has_broker() -> bool:
    url = broker_url(current().settings)
    for _ in range(2):
        with suppress(redis.RedisError), closing(connect(url, patient=False)) as client:
            return bool(client.ping())
        time.sleep(_LOOK_SECONDS)
    return False

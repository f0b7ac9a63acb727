"""A worker or beat that was started by a command ends when that command is gone, however it went."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from celery import signals

WITH_PARENT = "GEOMETRA_BACKUP_WITH_PARENT"
"""Set where standard input is a pipe from the command, whose end is the command's."""


@signals.worker_init.connect
@signals.beat_init.connect
def _watch(**_: Any) -> None:
    if os.environ.get(WITH_PARENT):
        threading.Thread(target=_end_with_parent, args=(sys.stdin.fileno(),), name="parent", daemon=True).start()


def _end_with_parent(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)

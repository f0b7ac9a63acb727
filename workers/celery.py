"""The Celery app. `celery -A workers worker|beat|flower` finds it; nothing is opened here before a worker forks."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

from celery import Celery

# Imported for the tasks and the signal handlers that they register.
import tasks.mirror
import tasks.plan
import tasks.restore
import tasks.tend
import workers.last_results
import workers.parent
import workers.signals
from tasks.errors import BackupError
from tasks.memory import keep_freed_memory
from workers import delivered, half_read, own_spool


def _in_one_line(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """What is wrong in backup.toml, say, of a worker, beat or Flower that can't begin."""
    if isinstance(error, BackupError):
        sys.stderr.write(f"geometra-backup: {error}\n")
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _in_one_line
keep_freed_memory()  # its forked processes do, then
app = Celery("geometra-backup", task_cls="workers.delivered:LastingTask")
app.config_from_object(os.environ.get("CELERY_CONFIG_MODULE", "celeryconfig"))
app.set_default()
delivered.install(app)
own_spool.install(app)
half_read.install(app)

# Where `celery -A workers flower` finds its settings, unless `--conf` names others.
os.environ.setdefault("FLOWER_CONF", str(Path(__file__).with_name("flowerconfig.py")))

__all__ = ["app", "tasks", "workers"]

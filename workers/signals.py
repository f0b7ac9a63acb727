"""Celery's signals become structured logs: what started, ended, waited or failed, for which run and source."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import structlog
from celery import signals

from tasks.installation import current
from tasks.memory import give_back
from workers import log_files, outdated, pools

_log = structlog.get_logger("workers")
HEARTBEAT = "GEOMETRA_BACKUP_HEARTBEAT"
"""Names a file."""

_began: dict[str, float] = {}


@signals.setup_logging.connect
def _set_up_logging(loglevel: int | str = "INFO", logfile: str | None = None, **_: Any) -> None:
    """Instead of Celery's own set-up. `--logfile` is not needed: the dated file is always written."""
    state = current().settings.state
    state.mkdir(mode=0o700, parents=True, exist_ok=True)  # beat keeps its schedule there, and makes no folder
    log_files.set_up(state / "logs", level=loglevel)


@signals.celeryd_init.connect
def _worker_begins(sender: Any, **_: Any) -> None:
    outdated.note(str(sender))


@signals.beat_init.connect
def _beat_begins(**_: Any) -> None:
    outdated.note(f"beat@{current().settings.host}")


@signals.celeryd_after_setup.connect
def _serve_host_queues(sender: Any, instance: Any, **_: Any) -> None:
    """A worker that serves a pool by name serves its own host's queue of that pool too."""
    queues, host = instance.app.amqp.queues, current().settings.host
    for pool in pools.POOLS:
        own = pools.host_queue(pool.name, host)
        if pool.by_host and pool.name in queues.consume_from and own not in queues.consume_from:
            queues.select_add(queues[own])


@signals.heartbeat_sent.connect
def alive(**_: Any) -> None:
    """For a health check that asks nobody: the file is as old as the worker's last heartbeat, which it sends every two
    seconds while it has its broker, or as beat's last look at who is active."""
    if HEARTBEAT in os.environ:
        Path(os.environ[HEARTBEAT]).touch()


@signals.task_prerun.connect
def _started(task_id: str, task: Any, kwargs: dict[str, Any] | None = None, **_: Any) -> None:
    _began[task_id] = time.monotonic()
    _log.info("started", **_about(task.name, kwargs))


@signals.task_postrun.connect
def _ended(
    task_id: str,
    task: Any,
    *,
    kwargs: dict[str, Any] | None = None,
    retval: Any = None,
    state: str | None = None,
    **_: Any,
) -> None:
    seconds = round(time.monotonic() - _began.pop(task_id, time.monotonic()), 3)
    about = _about(task.name, kwargs) | {"seconds": seconds}
    if state == "RETRY":
        _log.info("waits", **about)
    elif state == "IGNORED":
        _log.info("handed on", **about)  # to another task, as what other applications ask for is
    elif state != "SUCCESS":
        _log.error("failed", **about, error=type(retval).__name__)
    elif isinstance(retval, dict) and retval.get("failure"):
        _log.error("failed", **about, state="failed", error=retval["failure"]["message"])
    elif isinstance(retval, dict) and "verb" in retval:
        _log.info("ended", **about, state=retval["state"], snapshot=retval["snapshot"])
    else:
        _log.info("ended", **about)
    give_back()


@signals.task_unknown.connect
def _unknown(name: str | None = None, **_: Any) -> None:
    _log.error("unknown task dropped", task=name, advice="sent by another version of this program, or misspelt")


def _about(task: str, kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """Names only. Never the arguments as they are."""
    named = {name: (kwargs or {}).get(name) for name in ("run", "source", "destination", "plan")}
    return {"task": task} | {name: str(value)[:100] for name, value in named.items() if value}

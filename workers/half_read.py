"""What a process of the pool says comes whole, also where the broker goes away in the middle of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery, bootsteps

_log = structlog.get_logger(__name__)


class HalfRead(bootsteps.StartStopStep):
    """What a process of a prefork pool says is read in pieces where it is longer than 16 KiB, as an error with all that
    led to it is: between them the worker sees to its broker. Where that fails just then, Celery 5.7 forgets all that is
    under way, and takes the second half for the beginning of the next message. That process's place in the pool was
    lost, and the worker's end waited for ever for what no process would say."""

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        results = getattr(getattr(worker.pool, "_pool", None), "_result_handler", None)
        if worker.hub is not None and hasattr(results, "fileno_to_outq"):  # no pool of threads
            worker.hub.reset = functools.partial(_finish_and_reset, worker.hub.reset, results)


def _finish_and_reset(reset: Callable[[], None], results: Any) -> None:
    """`reset` is called for an error, which its caller raises again afterwards."""
    for number, process in list(results.fileno_to_outq.items()):
        try:
            results._finish_partial_read(number, process)  # noqa: SLF001 - as Celery does where it ends
        except Exception as error:  # noqa: BLE001 - what it was may be told to the broker, which is away
            _log.warning("what a process ended with was not passed on", error=type(error).__name__)
    reset()


def install(app: Celery) -> None:
    app.steps["worker"].add(HalfRead)

"""How long a process of a worker's pool, told to end, waits until the worker has heard what its tasks came to."""

from __future__ import annotations

from typing import Any

from celery import signals

_SECONDS = 2.0


@signals.worker_process_init.connect
def _wait_shortly(**_: Any) -> None:
    """Billiard 4.3 waits for 30 s. But a worker that is told to end, or has lost its broker, forgets the tasks that it
    handed on just then and that had not begun; they are done all the same, and where no other is under way it hears of
    none any more: a warm shutdown at such a moment took 30 s longer. What was said is not lost, it stays in the pipe.
    """
    import billiard.pool as pool  # of the command line nobody needs it

    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = int(_SECONDS / pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL)

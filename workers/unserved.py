"""Which pools nobody serves."""

from __future__ import annotations

from workers.pools import POOLS

_ASK_SECONDS = 1.0


def unserved() -> list[str]:
    """The names of the pools whose queue no running worker consumes. Waits a second for the workers. Raises
    `Unavailable` where the broker does not answer."""
    from tasks.tend import served_queues
    from workers.celery import app

    served = served_queues(app, _ASK_SECONDS)
    return [pool.name for pool in POOLS if pool.name not in served]

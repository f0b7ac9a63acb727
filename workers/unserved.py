"""Which pools nobody serves: asked of the workers themselves."""

from __future__ import annotations

from tasks.settings import Settings
from workers.pools import POOLS


def unserved(settings: Settings, timeout: float = 1.0) -> list[str]:
    """The names of the pools whose queue no running worker consumes. Waits `timeout` seconds for the workers."""
    from workers.celery import app

    answers = app.control.inspect(timeout=timeout).active_queues() or {}
    served = {queue["name"] for queues in answers.values() for queue in queues}
    return [pool.name for pool in POOLS if pool.name not in served]

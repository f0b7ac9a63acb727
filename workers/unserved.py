"""Which pools nobody serves."""

from __future__ import annotations

from tasks.settings import Settings
from workers.pools import POOLS

_ASK_SECONDS = 1.0


def unserved(settings: Settings) -> list[str]:
    """The names of the pools that there is work for and whose queue no running worker consumes. Waits a second for the
    workers. Raises `Unavailable` where the broker does not answer."""
    from tasks.tend import served_queues
    from workers.celery import app

    served = served_queues(app, _ASK_SECONDS)
    idle = set() if any(source.drill for source in settings.sources.values()) else {"drill"}
    return [pool.name for pool in POOLS if pool.name not in served | idle]

"""Which pools nobody serves: asked of the workers themselves."""

from __future__ import annotations

import redis
from kombu.exceptions import OperationalError

from tasks.errors import Unavailable
from tasks.settings import Settings
from workers.pools import POOLS


def unserved(settings: Settings, timeout: float = 1.0) -> list[str]:
    """The names of the pools whose queue no running worker consumes. Waits `timeout` seconds for the workers. Raises
    `Unavailable` where the broker does not answer."""
    from workers.celery import app

    try:
        answers = app.control.inspect(timeout=timeout).active_queues() or {}
    except (redis.RedisError, OperationalError) as error:
        raise Unavailable("the broker does not answer; is its Redis running and can this host reach it?") from error
    served = {queue["name"] for queues in answers.values() for queue in queues}
    return [pool.name for pool in POOLS if pool.name not in served]

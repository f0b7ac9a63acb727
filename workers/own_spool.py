"""A worker that serves its host's own queue sees to the host's spool: nobody else can, and nobody else knows of it."""

from __future__ import annotations

from typing import Any

import structlog
from celery import Celery, bootsteps
from celery.worker import state
from kombu.exceptions import OperationalError

from tasks.errors import BackupError
from tasks.installation import current
from tasks.late import tend_spool_task
from workers.pools import POOLS, host_queue

_log = structlog.get_logger(__name__)


class OwnSpool(bootsteps.StartStopStep):
    """Every half of the visibility timeout while there is something in it, as beat has the runs seen to. Not while all
    that this worker can do at once is under way: the messages would wait in front of the uploads that come then."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **_: Any) -> None:
        super().__init__(consumer)
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        host, served = current().settings.host, consumer.app.amqp.queues.consume_from
        own = [queue for pool in POOLS if pool.by_host and (queue := host_queue(pool.name, host)) in served]
        if own:
            seconds = consumer.app.conf.broker_transport_options["visibility_timeout"] / 2
            self._timer = consumer.timer.call_repeatedly(seconds, self._send, (consumer, own[0], seconds))

    def stop(self, consumer: Any) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _send(self, consumer: Any, queue: str, seconds: float) -> None:
        try:
            if len(state.active_requests) < consumer.pool.num_processes and not current().spool.is_empty():
                tend_spool_task.apply_async(queue=queue, expires=seconds, retry=False)
        except (BackupError, OperationalError, OSError) as error:
            _log.warning("the spool was not seen to", error=type(error).__name__)


def install(app: Celery) -> None:
    app.steps["consumer"].add(OwnSpool)

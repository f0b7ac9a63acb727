"""Messages that a worker holds and works on, or sends: kept from being delivered again meanwhile, and safe when the
broker goes.

Relies on private parts of kombu 5.7's Redis transport, which is why pyproject.toml pins it; tests/flows/test_kills.py
proves it against a real broker.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import redis
import structlog
from celery import Celery, bootsteps
from kombu.transport import redis as transport

_log = structlog.get_logger(__name__)


class LastingQoS(transport.QoS):
    """Celery 5.7 forgets a connection whose broker is gone before it hands back what it holds, and acknowledges on it
    later; both raised what nobody expects, and ended the worker. What is held then comes again after the visibility
    timeout: the record knows what became of it."""

    def restore_unacked(self, client: Any = None) -> None:
        if self._gone():
            self._held().clear()
        else:
            super().restore_unacked(client)

    def ack(self, delivery_tag: str) -> None:
        if not self._gone():
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self._gone():
            super().reject(delivery_tag, requeue)

    def renew(self) -> None:
        """Let the visibility timeout of all that is held begin anew."""
        channel: Any = self.channel
        if self._held() and not self._gone():
            with channel.conn_or_acquire() as client:
                client.zadd(channel.unacked_index_key, dict.fromkeys(self._held(), time.time()), xx=True)

    def _held(self) -> dict[str, Any]:
        held: Any = self._delivered
        return {} if held is None else held

    def _gone(self) -> bool:
        connection: Any = self.channel.connection
        return connection is None or connection.client is None


class LastingChannel(transport.Channel):
    """A message that is sent while the broker is away is tried again over a new connection. kombu 5.7 tries once more
    over what is left of the old one, and fails with what counts as no trouble of a connection, so the message, such as
    a task's own retry, is lost.

    A connection that ends is taken out of the event loop before its socket is closed. kombu does so afterwards, which
    is too late where a child that was forked meanwhile holds the socket too: epoll goes on telling of it, under a
    number that the next connection has, and the worker waits on that one for ever, for what will never come."""

    QoS = LastingQoS

    def _connparams(self, asynchronous: bool = False) -> Any:
        connection: Any = self.connection
        if connection is None:
            raise redis.ConnectionError("the connection to the broker is gone")
        above: Any = super()
        found = above._connparams(asynchronous)  # noqa: SLF001 - what it relies on, see above
        if asynchronous:
            found["connection_class"] = _taken_out(found["connection_class"], connection.cycle)
        return found


def _taken_out(connection_class: Any, cycle: Any) -> Any:
    class Connection(connection_class):  # type: ignore[misc]
        def disconnect(self, *arguments: Any, **options: Any) -> None:
            if self._sock is not None:
                with suppress(OSError):  # not in it
                    cycle.poller.unregister(self._sock)
            super().disconnect(*arguments, **options)

    return Connection


class Renewal(bootsteps.StartStopStep):
    """Every third of the visibility timeout, the clock of each held message starts anew: a task may take hours, and one
    whose worker was killed still comes again as soon as the timeout says."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **_: Any) -> None:
        super().__init__(consumer)
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        seconds = consumer.app.conf.broker_transport_options["visibility_timeout"] / 3
        self._timer = consumer.timer.call_repeatedly(seconds, self._renew, (consumer,))

    def stop(self, consumer: Any) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _renew(self, consumer: Any) -> None:
        try:
            if consumer.task_consumer:
                consumer.task_consumer.channel.qos.renew()
        except redis.RedisError as error:
            # The worker's own connection notices, and reconnects.
            _log.warning("held messages not renewed", error=type(error).__name__)


def install(app: Celery) -> None:
    transport.Transport.Channel = LastingChannel
    app.steps["consumer"].add(Renewal)

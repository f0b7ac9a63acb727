"""Messages that a worker holds and works on, or sends: kept from being delivered again meanwhile, and safe when the
broker goes.

Relies on private parts of kombu 5.7's Redis transport, which is why pyproject.toml pins it; tests/flows/test_kills.py
proves it against a real broker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty
from typing import Any

import redis
import structlog
from celery import Celery, Task, bootsteps
from celery.exceptions import Reject
from kombu.transport import redis as transport

_log = structlog.get_logger(__name__)
_UNREADABLE = (ValueError, TypeError, AttributeError, IndexError, RecursionError)
"""None of these is an error of a connection, as `KeyError` is to kombu."""


class LastingQoS(transport.QoS):
    """Celery 5.7 forgets a connection whose broker is gone before it hands back what it holds, and acknowledges on it
    later; both raised what nobody expects, and ended the worker. What is held then comes again after the visibility
    timeout: the record knows what became of it.

    So does what could not be acknowledged or handed back, as the connection failed just then and the worker went on: it
    is held no more. Else it would take up a place in this worker, and be renewed, for as long as that lives."""

    def restore_unacked(self, client: Any = None) -> None:
        if self._gone():
            self.held().clear()
        else:
            super().restore_unacked(client)

    def ack(self, delivery_tag: str) -> None:
        if not self._gone():
            with self._let_go(delivery_tag):
                super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self._gone():
            with self._let_go(delivery_tag):
                super().reject(delivery_tag, requeue)

    def renew(self) -> None:
        """Let the visibility timeout of all that is held begin anew."""
        channel: Any = self.channel
        let_go: Any = self._dirty
        held = dict.fromkeys(self.held().keys() - let_go, time.time())
        if held and not self._gone():
            with channel.conn_or_acquire() as client:
                client.zadd(channel.unacked_index_key, held, xx=True)

    def held(self) -> dict[str, Any]:
        """What is held, and perhaps some that was let go."""
        delivered: Any = self._delivered
        return {} if delivered is None else delivered

    @contextmanager
    def _let_go(self, delivery_tag: str) -> Iterator[None]:
        """Whatever comes of it."""
        try:
            yield
        finally:
            let_go: Any = self._dirty
            let_go.add(delivery_tag)

    def _gone(self) -> bool:
        connection: Any = self.channel.connection
        return connection is None or connection.client is None


class LastingChannel(transport.Channel):
    """A message that is sent while the broker is away is tried again over a new connection. kombu 5.7 tries once more
    over what is left of the old one, and fails with what counts as no trouble of a connection, so the message, such as
    a task's own retry, is lost.

    A connection that ends is taken out of the event loop before its socket is closed. kombu does so afterwards, which
    is too late where a child that was forked meanwhile holds the socket too: epoll goes on telling of it, under a
    number that the next connection has, and the worker waits on that one for ever, for what will never come.

    What something else than Celery put into a queue, or said to all, is dropped. Celery 5.7 ends the worker, and where
    it had noted the message, each of those that it comes to next.

    Which queue a message came by is what the worker saw, and not what the message says of itself: who may write to one
    queue alone has nothing done, or put back, by the name of another."""

    QoS = LastingQoS

    def basic_consume(self, queue: str, *arguments: Any, **options: Any) -> Any:
        consumer = super().basic_consume(queue, *arguments, **options)
        own: Any = self
        connection = own.connection
        if queue not in own._fanout_queues:  # noqa: SLF001
            connection._callbacks[queue] = partial(_come_by, queue, connection._callbacks[queue])  # noqa: SLF001
        return consumer

    def _brpop_read(self, **options: Any) -> Any:
        with self._dropping():
            above: Any = super()
            return above._brpop_read(**options)  # noqa: SLF001 - as below

    def _receive(self) -> Any:
        with self._dropping():
            above: Any = super()
            return above._receive()  # noqa: SLF001

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        """Raises `Empty` instead of what a message's content raised while it was received."""
        qos: Any = self.qos
        before = set(qos.held())
        try:
            yield
        except _UNREADABLE as error:
            _log.error(
                "unreadable message dropped",
                error=type(error).__name__,
                advice="something that does not speak Celery's protocol writes to the broker",
            )
            for delivery_tag in set(qos.held()) - before:
                qos.reject(delivery_tag)
            raise Empty from None

    def _connparams(self, asynchronous: bool = False) -> Any:
        connection: Any = self.connection
        if connection is None:
            raise redis.ConnectionError("the connection to the broker is gone")
        above: Any = super()
        found = above._connparams(asynchronous)  # noqa: SLF001 - what it relies on, see above
        if asynchronous:
            found["connection_class"] = _taken_out(found["connection_class"], connection.cycle)
        return found


def _come_by(queue: str, callback: Callable[[Any], Any], message: Any) -> Any:
    message["properties"]["delivery_info"].update(exchange="", routing_key=queue)
    return callback(message)


def _taken_out(connection_class: Any, cycle: Any) -> Any:
    class Connection(connection_class):  # type: ignore[misc]
        def disconnect(self, *arguments: Any, **options: Any) -> None:
            if self._sock is not None:
                with suppress(OSError):  # not in it
                    cycle.poller.unregister(self._sock.fileno())
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


class LastingTask(Task):  # type: ignore[type-arg]
    """One that is to be tried again, while the broker takes no message: then its own message comes again. Celery 5.7
    drops that, and has the worker note it as failed, which fails as well, and keeps its place in the worker for ever;
    or, where the broker takes that again, has its step closed as lost."""

    abstract = True
    Request = "workers.checked_request:CheckedRequest"

    def retry(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().retry(*arguments, **options)
        except Reject as error:
            raise Reject(error.args[0], requeue=True) from error


def install(app: Celery) -> None:
    transport.Transport.Channel = LastingChannel
    app.steps["consumer"].add(Renewal)

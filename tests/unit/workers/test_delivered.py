"""Relies on kombu's event loop, over a real Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from kombu import Connection, Consumer, Exchange, Queue
from kombu.asynchronous import Hub, set_event_loop

from tests.redis_process import RedisProcess, redis_process
from workers.delivered import LastingChannel

pytestmark = pytest.mark.needs("redis-server")


@pytest.fixture(scope="module")
def broker() -> Iterator[RedisProcess]:
    with redis_process() as server:
        yield server


@pytest.mark.parametrize("kind", ["subclient", "client"])
def test_a_connection_that_a_child_holds_too_is_not_heard_any_more_once_it_ended(
    broker: RedisProcess, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`subclient` hears what is said to all workers, `client` waits for tasks."""
    monkeypatch.setattr("kombu.transport.redis.Transport.Channel", LastingChannel)
    hub, heard = Hub(), list[Any]()
    with closing(hub), Connection(broker.url) as connection:
        set_event_loop(hub)
        channel: Any = connection.channel()
        names = ("all", Exchange("all", type="fanout")), ("tasks", Exchange("tasks"))
        queues = [Queue(name, exchange, name) for name, exchange in names]
        with Consumer(channel, queues, callbacks=[lambda body, message: heard.append(body)], no_ack=True):
            connection.register_with_event_loop(hub)
            loop = hub.create_loop()
            for _ in range(3):
                next(loop)
            held = getattr(channel, kind).connection
            before = held._sock.fileno()
            theirs = os.dup(before)  # as a child has it that was forked now
            try:
                held.disconnect()
                assert before not in [number for number, _ in hub.poller.poll(0.1) or ()]
                for _ in range(2):
                    next(loop)  # it connects anew
                with Connection(broker.url) as other:
                    other.Producer().publish("said", exchange=names[0][1], routing_key="all", declare=[queues[0]])
                    other.Producer().publish("to do", exchange=names[1][1], routing_key="tasks", declare=[queues[1]])
                for _ in range(50):
                    if len(heard) == 2:
                        break
                    next(loop)
            finally:
                os.close(theirs)
    assert sorted(heard) == ["said", "to do"]


@pytest.mark.parametrize("way", ["ack", "reject"])
def test_what_could_not_be_given_back_is_held_no_more_and_comes_again(
    broker: RedisProcess, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kombu.transport.redis.Transport.Channel", LastingChannel)
    queue = Queue(f"to {way}", Exchange("given"), way)
    heard = list[Any]()
    with Connection(broker.url, transport_options={"visibility_timeout": 1, "socket_timeout": 0.5}) as connection:
        channel: Any = connection.channel()
        consumer = Consumer(channel, [queue], callbacks=[lambda body, message: heard.append(message)], prefetch_count=1)
        with consumer, Connection(broker.url) as other:
            for number in range(2):
                other.Producer().publish(number, exchange=queue.exchange, routing_key=way, declare=[queue])
            connection.drain_events(timeout=5)
            (message,) = heard
            broker.freeze()
            channel.pool.disconnect()  # or what was sent would be done after all
            try:
                with pytest.raises(connection.connection_errors):
                    message.ack() if way == "ack" else message.reject(requeue=True)
            finally:
                broker.thaw()
            channel.qos.renew()
            with closing(broker.client()) as client:
                assert client.hexists("unacked", message.delivery_tag)
                since = client.zscore("unacked_index", message.delivery_tag)
            assert channel.qos.can_consume(), "it takes the place of another"
            connection.drain_events(timeout=5)
            assert [each.payload for each in heard] == [0, 1]
            channel.qos.renew()
            with closing(broker.client()) as client:
                assert client.zscore("unacked_index", message.delivery_tag) == since, "it is renewed for ever"


@pytest.mark.parametrize(
    "text", ["no JSON", "", "5", "[]", '{"body": 5, "properties": {"delivery_tag": "1", "delivery_info": "none"}}']
)
def test_what_is_no_message_is_dropped_and_the_next_one_is_heard(
    broker: RedisProcess, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kombu.transport.redis.Transport.Channel", LastingChannel)
    queue, heard = Queue("mixed", Exchange("mixed"), "mixed"), list[Any]()

    def hear(body: Any, message: Any) -> None:
        heard.append(body)
        message.ack()

    with Connection(broker.url) as connection, closing(broker.client()) as client:
        channel: Any = connection.channel()
        with Consumer(channel, [queue], callbacks=[hear]):
            client.delete("unacked", "unacked_index")  # of other tests
            client.lpush("mixed", text)
            connection.Producer().publish("heard", exchange=queue.exchange, routing_key="mixed", declare=[queue])
            with suppress(TimeoutError):
                while not heard:
                    connection.drain_events(timeout=5)
            assert heard == ["heard"]
            assert not client.exists("unacked", "mixed")

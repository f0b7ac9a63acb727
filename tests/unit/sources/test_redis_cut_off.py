"""Restores into a Redis that end in the middle: how much of it is there is told, and nothing else is left."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.errors import TO_OVERWRITE, NoSpace, Unavailable
from tasks.sources.redis_store import large_keys, restoring, writing
from tasks.sources.redis_store.connection import Connection
from tasks.sources.source import Restoring
from tests.contracts.memory_items import Saved
from tests.redis_process import RedisProcess
from tests.unit.sources.test_redis_restore import fresh, held, into, of, start  # noqa: F401 - fixtures

pytestmark = pytest.mark.needs("redis-server")


@pytest.fixture(scope="module")
def filled() -> Iterator[RedisProcess]:
    with start() as server:
        with server.client(text=False) as client, client.pipeline() as pipeline:
            for number in range(10_000):
                pipeline.set(b"key %d" % number, os.urandom(200))
            pipeline.execute()
        yield server


@pytest.fixture(scope="module")
def gathered() -> Iterator[RedisProcess]:
    """With one large set."""
    with start() as server:
        with server.client(text=False) as client:
            client.sadd("set", *(os.urandom(100) for _ in range(30_000)))
        yield server


def test_a_server_that_is_full_says_how_many_keys_are_there_and_how_to_go_on(
    filled: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_BATCH", 10_000)
    saved = Saved(of(filled).capture())
    with start("--maxmemory", "2mb") as small:
        again = re.escape(f"restore again, and {TO_OVERWRITE}, as these are there now")
        with pytest.raises(
            NoSpace, match=rf"`maxmemory`.*; raise it. [\d,]+ keys were restored by then: {again}"
        ) as told:
            of(filled).restore_into(saved, saved, into(small), Restoring())
        count = re.search(r"([\d,]+) keys", str(told.value))
        with small.client() as client:
            assert count is not None
            assert 0 < int(count[1].replace(",", "")) == client.dbsize() < 10_000
            client.config_set("maxmemory", "1gb")
        assert of(filled).restore_into(saved, saved, into(small), Restoring(overwrite=True)) == []
        assert held(small) == held(filled)


def test_a_large_key_that_finds_no_room_takes_none(gathered: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.sources.redis_store.walk.LARGE", 500)
    monkeypatch.setattr(restoring, "_PIECE", 70_000)
    saved = Saved(of(gathered).capture())
    with start("--maxmemory", "3mb") as small, small.client() as client:
        with pytest.raises(NoSpace) as told:
            of(gathered).restore_into(saved, saved, into(small), Restoring())
        assert "restored by then" not in str(told.value)
        assert client.keys() == []


def test_a_large_key_that_is_cut_off_expires_from_its_first_part_on(
    gathered: RedisProcess,
    fresh: RedisProcess,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks.sources.redis_store.walk.LARGE", 500)
    monkeypatch.setattr(restoring, "_PIECE", 70_000)
    monkeypatch.setattr(large_keys, "_BATCH", 10_000)
    saved = Saved(of(gathered).capture())
    lasting = []

    class Cut(Connection):
        """Hears nothing of what it asked for last, and reaches nothing any more."""

        def send(self, commands: Any) -> None:
            sent = list(commands)
            super().send(sent)
            if sent[0][0] == "SADD":
                with fresh.client() as client:
                    while not (left := client.keys("geometra-restore:*")):
                        pass
                    lasting.append(client.pttl(left[0]))
                raise Unavailable("cut off")

        def open(self) -> None:
            if lasting:
                raise Unavailable("cut off")
            super().open()

    monkeypatch.setattr(restoring, "Connection", Cut)
    with pytest.raises(Unavailable, match="cut off"):
        of(gathered).restore_into(saved, saved, into(fresh), Restoring())
    assert 0 < lasting[0] <= 3_600_000

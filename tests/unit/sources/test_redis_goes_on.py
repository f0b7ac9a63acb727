"""A run that restores into a Redis and is killed goes on where it was: what it wrote is known by its mark, and whatever
has become of that since is left as it is.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from tasks.errors import Occupied, Unavailable
from tasks.sources.redis_store import writing
from tasks.sources.redis_store.large_keys import COMMANDS
from tasks.sources.source import Restoring
from tests.contracts.memory_items import Saved
from tests.redis_process import RedisProcess
from tests.redis_sample import fill
from tests.unit.sources.redis_cut_off import (  # noqa: F401 - a fixture
    RUN,
    begun,
    cut_off,
    killed,
    names,
    restoring_from,
    slowly,
    small_steps,
)
from tests.unit.sources.test_redis_restore import fresh, held, into, of, start  # noqa: F401 - fixtures

pytestmark = pytest.mark.needs("redis-server")

Contents = dict[tuple[int, bytes], tuple[Any, ...]]
KILLS = 20
SECONDS = 15.0


@pytest.fixture(scope="module")
def filled() -> Iterator[RedisProcess]:
    with start() as server:
        with server.client(text=False) as client:
            fill(client, 60)
        yield server


@pytest.fixture(scope="module")
def saved(filled: RedisProcess) -> Saved:
    return Saved(of(filled).capture())


@pytest.fixture(scope="module")
def whole(filled: RedisProcess) -> Contents:
    return held(filled)


def test_killed_at_any_moment_it_ends_whole(filled: RedisProcess, saved: Saved, whole: Contents) -> None:
    made = of(filled)
    with filled.client() as client:
        functions = client.function_list(withcode=True)
    with start() as server:
        began = time.monotonic()
        restoring_from(made, saved, into(server))()
        seconds = time.monotonic() - began
    dice, deadline, lives = random.Random(11), time.monotonic() + SECONDS, []
    for _ in range(KILLS):
        with start() as server:
            with server.client(7) as client:
                client.set("their own", "value")
            restore = restoring_from(made, saved, into(server))
            lives.append(1)
            while (ended := killed(restore, seconds * dice.uniform(0.02, 0.7) + 0.01 * lives[-1])) is None:
                lives[-1] += 1
            assert ended == 0
            assert len(names(server)) == 1
            made.forget_run(into(server), RUN)
            there = held(server)
            assert there.pop((7, b"their own"))[1] == b"value"
            assert there == whole
            with server.client() as client:
                assert client.function_list(withcode=True) == functions
        if time.monotonic() > deadline:
            break
    assert max(lives) > 2


def test_what_became_of_its_keys_meanwhile_is_left_as_it_is(fresh: RedisProcess) -> None:  # noqa: F811
    with start() as server:
        with server.client() as client:
            client.mset({f"key:{number}": "saved" for number in range(3000)})
            soon = int(time.time() * 1000) + 2500
            for number in range(0, 3000, 10):
                client.pexpireat(f"key:{number}", soon)
        saved, made = Saved(of(server).capture()), of(server)
    with fresh.client() as client:
        cut_off(fresh, restoring_from(made, saved, into(fresh)), least=1000)
        there = [name for name in client.keys("key:*") if not name.endswith("0")]
        changed, deleted = there[0], there[1]
        client.set(changed, "by somebody")
        client.delete(deleted)
        time.sleep(max(0.0, soon / 1000 - time.time()) + 0.05)
        assert made.restore_into(saved, saved, into(fresh), RUN) == []
        made.forget_run(into(fresh), RUN)
        expected = {f"key:{number}": "saved" for number in range(3000) if number % 10}
        del expected[deleted]
        expected[changed] = "by somebody"
        found = client.keys()
        assert dict(zip(found, client.mget(found), strict=True)) == expected


def test_once_all_is_there_it_writes_nothing_more(fresh: RedisProcess) -> None:  # noqa: F811
    """Its worker may be killed before it has told that it is done."""
    with start() as server:
        with server.client() as client:
            client.mset({"one": 1, "two": 2})
            client.function_load("#!lua name=sample\nredis.register_function('answer', function() return 42 end)")
        saved, made = Saved(of(server).capture()), of(server)
    with fresh.client() as client:
        assert made.restore_into(saved, saved, into(fresh), RUN) == []
        client.delete("one")
        assert made.restore_into(saved, saved, into(fresh), RUN) == []
        [mark] = names(fresh)
        assert 0 < client.pttl(mark) <= 86_400_000
        made.forget_run(into(fresh), RUN)
        assert client.keys() == ["two"]


def test_what_somebody_else_wrote_meanwhile_is_never_replaced(
    filled: RedisProcess,
    saved: Saved,
    whole: Contents,
    fresh: RedisProcess,  # noqa: F811
) -> None:
    made = of(filled)
    cut_off(fresh, restoring_from(made, saved, into(fresh)), least=400)
    there = held(fresh)
    database, theirs = next(key for key in whole if key not in there and len(key[1]) < 100)
    with fresh.client(database, text=False) as client:
        client.set(theirs, b"somebody else's")
        with pytest.raises(Occupied, match="keys were restored by then"):
            made.restore_into(saved, saved, into(fresh), RUN)
        assert client.get(theirs) == b"somebody else's"
    assert names(fresh) == []
    after = held(fresh)
    del after[database, theirs]
    assert {key: whole[key] for key in after} == after


def test_another_run_and_one_by_hand_are_refused(
    filled: RedisProcess,
    saved: Saved,
    whole: Contents,
    fresh: RedisProcess,  # noqa: F811
) -> None:
    made = of(filled)
    cut_off(fresh, restoring_from(made, saved, into(fresh)), least=400)
    for how in (Restoring(), Restoring(run="another"), Restoring(run="another", again=True)):
        with pytest.raises(Occupied):
            made.restore_into(saved, saved, into(fresh), how)
    assert names(fresh, "geometra-restore:run:*") == ["geometra-restore:run:the-run"]
    made.restore_into(saved, saved, into(fresh), Restoring(run="another", overwrite=True))
    made.forget_run(into(fresh), RUN)
    there = held(fresh)
    assert {key: there[key] for key in whole} == whole  # what is left beside it of a large key expires within the hour


def test_a_run_that_overwrites_is_done_again(
    filled: RedisProcess,
    saved: Saved,
    whole: Contents,
    fresh: RedisProcess,  # noqa: F811
) -> None:
    made, how = of(filled), RUN._replace(overwrite=True)
    with fresh.client(3) as client:
        client.set("hash:3:1", "in the way")
    cut_off(fresh, restoring_from(made, saved, into(fresh), how), least=400)
    assert names(fresh, "geometra-restore:run:*") == []
    assert made.restore_into(saved, saved, into(fresh), how._replace(again=True)) == []
    there = held(fresh)
    assert {key: there[key] for key in whole} == whole


def test_a_server_that_was_emptied_meanwhile_gets_all_of_it(
    filled: RedisProcess,
    saved: Saved,
    whole: Contents,
    fresh: RedisProcess,  # noqa: F811
) -> None:
    made = of(filled)
    cut_off(fresh, restoring_from(made, saved, into(fresh)), least=400)
    with fresh.client() as client:
        client.flushall()
        client.function_flush()
    restoring_from(made, saved, into(fresh))()
    made.forget_run(into(fresh), RUN)
    assert held(fresh) == whole


def test_one_that_was_only_stopped_writes_no_more_once_another_has_taken_over(
    filled: RedisProcess,
    saved: Saved,
    whole: Contents,
    fresh: RedisProcess,  # noqa: F811
) -> None:
    made = of(filled)
    sleeper = begun(slowly(restoring_from(made, saved, into(fresh))))
    with fresh.client() as client:
        deadline = time.monotonic() + 30
        while client.dbsize() < 300:
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        os.kill(sleeper, signal.SIGSTOP)
        assert made.restore_into(saved, saved, into(fresh), RUN) == []
        made.forget_run(into(fresh), RUN)
        client.flushall()
        os.kill(sleeper, signal.SIGCONT)
        _, status = os.waitpid(sleeper, 0)
        assert os.waitstatus_to_exitcode(status) == 1
        assert [name for name in client.scan_iter() if not name.startswith("geometra-restore:")] == []


def test_a_server_that_is_emptied_while_it_is_written_to_is_noticed(
    filled: RedisProcess,
    saved: Saved,
    whole: Contents,
    fresh: RedisProcess,  # noqa: F811
) -> None:
    select = writing.Writer._select

    def emptied(writer: Any, database: int) -> None:
        select(writer, database)
        if database == 3:
            with fresh.client() as client:
                client.flushall()

    lost = pytest.raises(Unavailable, match="has lost what tells how far")
    with mock.patch.object(writing.Writer, "_select", emptied), lost:
        of(filled).restore_into(saved, saved, into(fresh), RUN)
    with fresh.client() as client:
        client.function_flush()
    restoring_from(of(filled), saved, into(fresh))()
    of(filled).forget_run(into(fresh), RUN)
    assert held(fresh) == whole


@pytest.mark.parametrize("in_parts", [True, False], ids=["in parts", "at once"])
def test_nothing_stays_of_a_large_key_whose_turn_is_over(
    filled: RedisProcess,
    saved: Saved,
    fresh: RedisProcess,  # noqa: F811
    in_parts: bool,
) -> None:
    """It would take its room for an hour."""
    begin = writing.Writer.begin

    def emptied(writer: Any, key: Any, count: int) -> None:
        begin(writer, key, count)
        if (key.kind in COMMANDS) == in_parts:
            with fresh.client() as client:
                client.flushall()

    lost = pytest.raises(Unavailable, match="has lost what tells how far")
    with mock.patch.object(writing.Writer, "begin", emptied), lost:
        of(filled).restore_into(saved, saved, into(fresh), RUN)
    assert held(fresh) == {}


def test_what_somebody_else_keeps_by_the_name_of_a_mark_is_left(
    saved: Saved,
    filled: RedisProcess,
    fresh: RedisProcess,  # noqa: F811
) -> None:
    with fresh.client() as client:
        for content in ("not ours", "a b c d", "aa 1 0-16383 x"):
            client.set("geometra-restore:run:the-run", content)
            with pytest.raises(Unavailable, match="another attempt has taken it over"):
                of(filled).restore_into(saved, saved, into(fresh), RUN)
            assert client.get("geometra-restore:run:the-run") == content
            assert client.dbsize() == 1

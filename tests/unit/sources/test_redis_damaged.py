"""Redis snapshots that are damaged: the keys before the damage come back."""

from __future__ import annotations

import re

import pytest

from tasks.errors import Damaged, Occupied
from tasks.sources.redis_store import restoring
from tasks.sources.source import Restoring
from tests.contracts.memory_items import Rotten, Saved
from tests.redis_process import RedisProcess
from tests.unit.sources.test_redis_restore import filled, fresh, held, into, of, saved  # noqa: F401 - fixtures

pytestmark = pytest.mark.needs("redis-server")


@pytest.mark.parametrize("large", [500, 1 << 20])
def test_the_keys_before_what_is_damaged_come_back_and_nothing_half(
    filled: RedisProcess,  # noqa: F811
    fresh: RedisProcess,  # noqa: F811
    saved: Saved,  # noqa: F811
    *,
    monkeypatch: pytest.MonkeyPatch,
    large: int,
) -> None:
    monkeypatch.setattr("tasks.sources.redis_store.walk.LARGE", large)
    monkeypatch.setattr(restoring, "_PIECE", 700)
    size = len(saved[b"dump.rdb"].content)
    right, counts = held(filled), set[int]()
    for part in range(1, 20):
        with fresh.client() as client:
            client.flushall()
            client.function_flush()
        with pytest.raises(Damaged, match=r"a block is rotten; [\d,]+ keys were restored, but none") as raised:
            of(filled).restore_into(
                Rotten(saved, b"dump.rdb", after=size * part // 20), saved, into(fresh), Restoring()
            )
        found = held(fresh)
        assert found == {key: value for key, value in right.items() if key in found}
        told = re.search(r"([\d,]+) keys", str(raised.value))
        assert told is not None
        assert int(told[1].replace(",", "")) == len(found)
        counts.add(len(found))
    assert len(counts) > 5, "more of it, more keys"


def test_what_is_damaged_is_put_beside_other_keys_but_never_over_them(
    filled: RedisProcess,  # noqa: F811
    fresh: RedisProcess,  # noqa: F811
    saved: Saved,  # noqa: F811
) -> None:
    rotten = Rotten(saved, b"dump.rdb", after=len(saved[b"dump.rdb"].content) - 1)
    with fresh.client() as client:
        client.set("of another", "kept")
    with pytest.raises(Damaged, match="a block is rotten"):
        of(filled).restore_into(rotten, saved, into(fresh), Restoring())
    assert held(fresh) == held(filled) | {(0, b"of another"): held(fresh)[0, b"of another"]}
    with fresh.client() as client:
        client.flushall()
        client.function_flush()
        client.set("string:0:3", "mine")
    before = held(fresh)
    with pytest.raises(Occupied):
        of(filled).restore_into(rotten, saved, into(fresh), Restoring())
    assert held(fresh) == before

"""The walk over an RDB: however it is cut, and whatever is wrong with it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.errors import Damaged, SourceError
from tasks.sources.redis import Redis, RedisSettings
from tasks.sources.redis_store import rdb
from tasks.sources.redis_store.tally import Tally
from tasks.sources.redis_store.walk import Key, Walk
from tests.contracts.memory_items import Saved
from tests.redis_process import redis_process
from tests.redis_sample import fill


@pytest.fixture(scope="module")
def dump(require: Callable[[str], str]) -> Iterator[bytes]:
    with redis_process("--appendonly", "no", program=Path(require("redis-server"))) as server:
        with server.client(text=False) as client:
            fill(client, 5)
        source = Redis("tested", RedisSettings.model_validate({"kind": "redis", "url": f"unix://{server.socket}"}))
        yield Saved(source.capture())[b"dump.rdb"].content


class Notes:
    """A `Visitor` that keeps everything."""

    def __init__(self) -> None:
        self.values: dict[tuple[int, bytes], bytes] = {}
        self.functions: list[bytes] = []
        self.large = 0
        self._key = Key(0, b"", 0)
        self._pieces = bytearray()

    def function(self, code: bytes) -> None:
        self.functions.append(rdb.text(code).value)

    def value(self, key: Key, data: bytes) -> None:
        assert (key.database, key.name) not in self.values
        self.values[key.database, key.name] = data

    def begin(self, key: Key, count: int) -> None:
        self._key, self.large = key, self.large + 1
        self._pieces = bytearray(b"" if key.kind not in (1, 2, 4, 5) else rdb.length(count))

    def piece(self, data: bytes, *, last: bool) -> None:
        self._pieces += data

    def finish(self) -> None:
        self.value(self._key, bytes(self._pieces))


def walked(content: bytes, sizes: Iterator[int]) -> Notes:
    notes, at = Notes(), 0
    walk = Walk(notes)
    while at < len(content):
        size = next(sizes)
        walk.feed(memoryview(content)[at : at + size])
        at += size
    assert walk.ended
    assert walk.left == rdb.TRAILER
    return notes


def always(size: int) -> Iterator[int]:
    while True:
        yield size


def test_pieces_of_any_size_tell_the_same(dump: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = walked(dump, always(len(dump)))
    assert len(whole.values) > 100
    assert b"register_function" in whole.functions[0]
    dice = random.Random(3)
    for sizes in (always(1 << 16), always(4093), iter(lambda: dice.randint(1, 100_000), 0)):
        assert walked(dump, sizes).values == whole.values
    # And where nearly everything is told in pieces.
    monkeypatch.setattr("tasks.sources.redis_store.walk.LARGE", 64)
    pieces = walked(dump, always(97))
    assert pieces.large > 50
    assert pieces.values == whole.values


def test_digests_do_not_depend_on_how_it_was_cut(dump: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def facts(size: int) -> object:
        tally = Tally()
        walk = Walk(tally)
        for at in range(0, len(dump), size):
            walk.feed(memoryview(dump)[at : at + size])
        return tally.facts()

    whole = facts(len(dump))
    monkeypatch.setattr("tasks.sources.redis_store.walk.LARGE", 64)
    assert facts(101) == whole


def test_every_byte_of_a_torn_or_changed_file_is_noticed(dump: bytes, tmp_path: Path) -> None:
    source = Redis("tested", RedisSettings(kind="redis"))
    (tmp_path / "dump.rdb").write_bytes(dump)
    source.examine(tmp_path)
    dice = random.Random(4)
    for _ in range(20):
        at = dice.randrange(rdb.MAGIC, len(dump) - rdb.TRAILER)
        (tmp_path / "dump.rdb").write_bytes(dump[:at])
        with pytest.raises((Damaged, SourceError)):
            source.examine(tmp_path)
        changed = bytearray(dump)
        changed[at] ^= 1 << dice.randrange(8)
        (tmp_path / "dump.rdb").write_bytes(changed)
        with pytest.raises((Damaged, SourceError)):
            source.examine(tmp_path)


def test_a_value_of_a_module_is_passed_over() -> None:
    string = rdb.string(b"text")
    value = rdb.length(1 << 40) + b"\x02\x07" + b"\x01\x09" + b"\x03abcd" + b"\x04abcdefgh" + b"\x05" + string + b"\x00"
    content = rdb.magic(10) + b"\x07" + rdb.string(b"module") + value + b"\x00" + rdb.string(b"next") + string + b"\xff"
    content += rdb.crc64(content).to_bytes(8, "little")
    for size in (1, 7, 1000):
        assert walked(content, always(size)).values == {(0, b"module"): value, (0, b"next"): string}


def test_an_unknown_type_is_said_and_nothing_else() -> None:
    content = rdb.magic(99) + b"\x63" + rdb.string(b"key") + b"\x00\x00"
    with pytest.raises(rdb.NotWalked, match="type 99"):
        Walk(Tally()).feed(memoryview(content))


@pytest.mark.parametrize("value", [0, 63, 64, 16383, 16384, (1 << 32) - 1, 1 << 32, (1 << 64) - 1])
def test_lengths_are_read_as_they_were_written(value: int) -> None:
    assert rdb.number(rdb.length(value)) == (value, len(rdb.length(value)))

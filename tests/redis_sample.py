"""Everything that a Redis can hold, made from a seed, and what it holds, to be compared."""

from __future__ import annotations

import random
from typing import Any

EXPIRES = 4_000_000_000_000
"""Milliseconds: a time that no test reaches."""
_WORDS = b"alpha beta gamma delta epsilon zeta eta theta iota kappa".split()
_LIBRARY = "#!lua name=sample\nredis.register_function('answer', function() return 42 end)"


def fill(client: Any, keys: int = 200, seed: int = 1) -> None:
    """Every type in every encoding, in databases 0, 3 and 9: `keys` of each simple kind, and some that are special."""
    dice = random.Random(seed)
    for database in (0, 3, 9):
        pipe = client.pipeline(transaction=False)
        pipe.execute_command("SELECT", database)
        for number in range(keys):
            _simple(pipe, dice, b"%d:%d" % (database, number))
            if number % 4 == 0:
                pipe.pexpireat(b"string:%d:%d" % (database, number), EXPIRES + 86_400_000 * number)
        _special(pipe, dice)
        pipe.execute()
        _streams(client)
    client.execute_command("SELECT", 0)
    if "function" in str(client.execute_command("COMMAND", "INFO", "FUNCTION")).lower():
        client.function_load(_LIBRARY, replace=True)


def text(dice: random.Random, words: int) -> bytes:
    return b" ".join(dice.choices(_WORDS, k=words))


def _simple(pipe: Any, dice: random.Random, name: bytes) -> None:
    pipe.set(b"string:" + name, dice.choice([text(dice, 30), dice.randbytes(50), b"%d" % dice.randrange(1 << 40)]))
    pipe.rpush(b"list:" + name, *[text(dice, 3) for _ in range(dice.randint(1, 9))])
    pipe.sadd(b"set:" + name, *[dice.randrange(1 << 17) for _ in range(dice.randint(1, 9))])
    pipe.zadd(b"sorted:" + name, {text(dice, 2): dice.random() for _ in range(dice.randint(1, 9))})
    pipe.hset(b"hash:" + name, mapping={b"f%d" % at: text(dice, 4) for at in range(dice.randint(1, 9))})


def _special(pipe: Any, dice: random.Random) -> None:
    binary = bytes(range(256))
    pipe.set(binary, binary * 3)
    pipe.set(b"", b"")
    pipe.set(b"a\r\n$5\r\nkey", b"with\r\n+OK\r\n inside")
    pipe.set(b"k" * 70_000, b"a long name")
    for at, number in enumerate((0, -1, 127, -128, 128, 32767, 32768, -(1 << 31), 1 << 31, -(1 << 63))):
        pipe.set(b"number:%d" % at, number)
    pipe.set(b"compressible", b"x" * 100_000 + b"y" * 70_000)
    pipe.set(b"incompressible", dice.randbytes(300_000))
    pipe.pfadd(b"hyperloglog", *range(1000))
    pipe.setbit(b"bits", 100_000, 1)
    pipe.geoadd(b"places", (13.4, 52.5, b"Berlin", 2.35, 48.85, b"Paris"))
    pipe.rpush(b"long list", *[text(dice, 10) for _ in range(3000)])
    pipe.rpush(b"list of large", dice.randbytes(20_000), b"small", b"", b"z" * 30_000)
    pipe.sadd(b"strings", *[text(dice, 3) + b"%d" % at for at in range(2000)])
    pipe.sadd(b"numbers", *range(-300, 300))
    pipe.sadd(b"many numbers", *range(2000))
    scores = [float("inf"), float("-inf"), 0.0, -0.0, 1e-300, 1.7976931348623157e308, 0.1, 3.0]
    pipe.zadd(b"scores", {b"m%d" % at: score for at, score in enumerate(scores)})
    pipe.zadd(b"many scores", {b"member %d" % at: dice.uniform(-1e9, 1e9) for at in range(2000)})
    pipe.hset(
        b"many fields", mapping={b"field %d" % at: dice.choice([b"%d" % at, text(dice, 20)]) for at in range(3000)}
    )
    pipe.hset(b"large field", mapping={b"f": b"v" * 200_000, b"\xff\x00": b"\x00"})
    pipe.pexpireat(b"many fields", EXPIRES + 1)
    pipe.pexpireat(b"strings", EXPIRES + 2)


def _streams(client: Any) -> None:
    for at in range(300):
        client.xadd("stream", {"n": at, "same": "field"}, id=f"{1000 + at}-{at % 7}")
    client.xdel("stream", "1003-3", "1299-5")
    client.xgroup_create("stream", "readers", "0")
    client.xgroup_create("stream", "nobody", "1100-0")
    client.xreadgroup("readers", "first", {"stream": ">"}, count=50)
    client.xreadgroup("readers", "second", {"stream": ">"}, count=10)
    client.xack("stream", "readers", "1000-0", "1001-1")
    client.xadd("emptied", {"n": 1}, id="5-0")
    client.xtrim("emptied", maxlen=0, approximate=False)


def contents(client: Any, but: int | None = None) -> dict[tuple[int, bytes], tuple[Any, ...]]:
    """Every key's type, value and expiry, but for those of one database. `client` must not decode."""
    found: dict[tuple[int, bytes], tuple[Any, ...]] = {}
    for name in client.info("keyspace"):
        database = int(name[2:])
        if database == but:
            continue
        client.execute_command("SELECT", database)
        for key in client.scan_iter(count=1000):
            kind = client.type(key).decode()
            found[database, key] = (kind, _value(client, kind, key), client.execute_command("PEXPIRETIME", key))
    client.execute_command("SELECT", 0)
    return found


def _value(client: Any, kind: str, key: bytes) -> Any:
    if kind == "string":
        return client.get(key)
    if kind == "list":
        return client.lrange(key, 0, -1)
    if kind == "set":
        return client.smembers(key)
    if kind == "zset":
        return client.zrange(key, 0, -1, withscores=True)
    if kind == "hash":
        return client.hgetall(key)
    assert kind == "stream"
    return client.xrange(key), client.execute_command("XINFO", "STREAM", key, "FULL", "COUNT", "0")

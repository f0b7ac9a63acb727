"""What an RDB holds, counted: keys by database and type, and digests that no order of keys or members changes."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from zlib import crc32

from tasks.item import Facts
from tasks.sources.redis_store import rdb
from tasks.sources.redis_store.values import COUNTED
from tasks.sources.redis_store.walk import Key

_UNORDERED = frozenset({rdb.SET, rdb.HASH, rdb.HASH_TTL_VALKEY})
"""Types whose elements come as the server's hash table has them, which another server has otherwise."""
_PASSING = frozenset({rdb.HASH_TTL_VALKEY, rdb.HASH_TTL, rdb.HASH_LISTPACK_TTL})
_PERIOD = 30 * 86_400_000


class Tally:
    """A `Visitor` that counts. A digest covers each key's name, database, expiry, type and encoded value: two servers
    of one version and one configuration that hold the same have the same digest. It is there to find a mistake: it sums
    the squares of checksums, and keeps nobody from forging one.

    Keys that expire are counted apart, by the thirty days in which they do, as a later look must leave out those days
    that have begun.
    """

    def __init__(self) -> None:
        # By place: the type, and the database shifted left by eight.
        self._lasting: defaultdict[int, int] = defaultdict(int)
        self._expiring: defaultdict[int, int] = defaultdict(int)
        self._functions = 0
        self._digest = self._functions_digest = 0
        self._periods: defaultdict[int, int] = defaultdict(int)
        self._key = Key(0, b"", 0)
        self._elements = self._running = 0

    def function(self, code: bytes) -> None:
        self._functions += 1
        mark = crc32(code)
        self._functions_digest += mark * mark

    def value(self, key: Key, data: bytes) -> None:
        database, name, kind, expires, _, _ = key
        place = kind | database << 8
        if kind in _UNORDERED:
            data = _bytes(_marks(data, 1 if kind == rdb.SET else 2, 8 if kind == rdb.HASH_TTL_VALKEY else 0))
        mark = crc32(data, crc32(name, place))
        if expires == -1:
            self._lasting[place] += 1
            self._digest += mark * mark
        else:
            self._expires(place, expires, mark)

    def begin(self, key: Key, count: int) -> None:
        self._key, self._elements = key, 0
        self._running = 0
        if key.kind not in _UNORDERED:
            self._running = crc32(rdb.length(count), _start(key)) if key.kind in COUNTED else _start(key)

    def piece(self, data: bytes, *, last: bool) -> None:
        self._running = crc32(data, self._running)
        if last and self._key.kind in _UNORDERED:
            self._elements += self._running * self._running
            self._running = 0

    def finish(self) -> None:
        database, _, kind, expires, _, _ = key = self._key
        mark = crc32(_bytes(self._elements), _start(key)) if kind in _UNORDERED else self._running
        place = kind | database << 8
        if expires == -1:
            self._lasting[place] += 1
            self._digest += mark * mark
        else:
            self._expires(place, expires, mark)

    def facts(self, after: datetime | None = None) -> Facts:
        """`after`: without what may have expired by then."""
        facts: Facts = {
            "functions": self._functions,
            "functions_digest": _hexadecimal(self._functions_digest),
            "lasting": _by_type(self._lasting),
            "lasting_digest": _hexadecimal(self._digest),
        }
        if after is None:
            facts["expiring"] = _by_type(self._expiring)
        for period, digest in sorted(self._periods.items()):
            begins = datetime.fromtimestamp(period * _PERIOD / 1000, UTC)
            if after is None or begins > after:
                facts[f"expiring_from_{begins:%Y-%m-%d}_digest"] = _hexadecimal(digest)
        return facts

    def passing(self) -> dict[str, int]:
        """By database, the hashes that never expire, but whose fields do: one is gone when all of them are."""
        counts: dict[str, int] = {}
        for place, count in self._lasting.items():
            if place & 0xFF in _PASSING:
                counts[str(place >> 8)] = counts.get(str(place >> 8), 0) + count
        return counts

    @property
    def keys(self) -> int:
        return self.lasting + sum(self._expiring.values())

    @property
    def lasting(self) -> int:
        """The keys that never expire."""
        return sum(self._lasting.values())

    def _expires(self, place: int, expires: int, mark: int) -> None:
        self._expiring[place] += 1
        mark = mark << 64 | expires
        # A year that no calendar has is as good as the last that one has.
        self._periods[min(expires // _PERIOD, 90_000)] += mark * mark


def _start(key: Key) -> int:
    return crc32(key.name, key.kind | key.database << 8)


def _by_type(counts: dict[int, int]) -> dict[str, dict[str, int]]:
    databases: dict[str, dict[str, int]] = {}
    for place, count in sorted(counts.items(), key=lambda item: (item[0] >> 8, item[0])):
        kind = place & 0xFF
        types = databases.setdefault(str(place >> 8), {})
        name = rdb.KINDS.get(kind, f"type {kind}")
        types[name] = types.get(name, 0) + count
    return databases


def _marks(data: bytes, strings: int, fixed: int) -> int:
    """The sum over the elements of a value that lies whole in `data`."""
    count, at = rdb.number(data)
    total = 0
    for _ in range(count):
        start = at
        for _ in range(strings):
            size = data[at]
            at = at + 1 + size if size < 0x40 else rdb.string_end(data, at)
        at += fixed
        mark = crc32(data[start:at])
        total += mark * mark
    return total


def _bytes(value: int) -> bytes:
    return (value % (1 << 128)).to_bytes(16, "little")


def _hexadecimal(value: int) -> str:
    return f"{value % (1 << 128):032x}"

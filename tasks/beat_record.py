"""Which of several beats is active, and when each entry of the schedule was last sent: in the broker's Redis, so that
another beat, on another host, goes on where one that was killed has ended."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import redis

from tasks.run_keys import PREFIX, reaching

_TAKE = """
local holder = redis.call('get', KEYS[1])
-- One with more time left than any is given was taken before the clock was put back.
if holder and holder ~= ARGV[1] and redis.call('pttl', KEYS[1]) <= 2 * tonumber(ARGV[2]) then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end
"""


class BeatRecord:
    """Every method raises `Unavailable` where the broker does not answer."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._active, self._sent = f"{PREFIX}beat:active", f"{PREFIX}beat:sent"

    def take(self, beat: str, seconds: float) -> bool:
        """Be the active one for so long from now, or go on being it. False: another is."""
        with reaching():
            return bool(self._redis.eval(_TAKE, 1, self._active, beat, int(seconds * 1000)))

    def release(self, beat: str) -> None:
        with reaching():
            self._redis.eval(_RELEASE, 1, self._active, beat)

    def active(self) -> str:
        """The name of the active one; empty if there is none."""
        with reaching():
            return str(self._redis.get(self._active) or "")

    def sent(self) -> dict[str, datetime]:
        """When each entry was last sent."""
        with reaching():
            # The client decodes, which its types do not know.
            stamps: dict[str, str] = self._redis.hgetall(self._sent)  # type: ignore[assignment]
        return {entry: datetime.fromtimestamp(float(stamp), UTC) for entry, stamp in stamps.items()}

    def mark(self, entry: str, when: datetime) -> None:
        with reaching():
            self._redis.hset(self._sent, entry, repr(when.timestamp()))

    def keep_only(self, entries: Iterable[str]) -> None:
        """Forget what is in no schedule any more: a plan that comes back later is not made up for."""
        with reaching():
            gone = set(map(str, self._redis.hkeys(self._sent))) - set(entries)
            if gone:
                self._redis.hdel(self._sent, *gone)

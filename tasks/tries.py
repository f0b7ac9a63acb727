"""Who works on a step of a run, how often that was tried, and what is done once: in the broker's Redis. tasks/lease.py
keeps a lease alive.
"""

from __future__ import annotations

from tasks.run_keys import KEPT, RunKeys, check_run, reaching

_TAKE = """
-- One with hours left, as none is given, was taken before the broker's clock was put back.
if redis.call('pttl', KEYS[1]) > 2 * tonumber(ARGV[2]) + 3600000 then redis.call('del', KEYS[1]) end
return redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
"""
_CLOCKS_DIFFER_SECONDS = 3600.0
_RENEW = """
if redis.call('hexists', KEYS[2], ARGV[3]) == 1 then return 0 end
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_DROP = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('del', KEYS[1])
"""
_RELEASE = """
local held = redis.call('get', KEYS[1]) == ARGV[1]
if held then redis.call('del', KEYS[1]) end
-- A broker that has lost its data counts none.
if (held or ARGV[3] == '1') and tonumber(redis.call('hget', KEYS[2], ARGV[2]) or 0) > 0 then
  redis.call('hincrby', KEYS[2], ARGV[2], -1)
end
"""


class Tries(RunKeys):
    """Every method raises `Unavailable` where the broker does not answer. A lease is held by its token."""

    def take(self, run: str, step: str, token: str, seconds: float) -> int | None:
        """Take the lease of a step: how often it was taken before and never given back. None: someone holds it."""
        with reaching():
            if not self._redis.eval(_TAKE, 1, self._lease(run, step), token, int(seconds * 1000)):
                return None
            return self._count(run, step + " lost") - 1

    def holder(self, run: str, step: str) -> str | None:
        """The token of who holds the lease of a step."""
        with reaching():
            token = self._redis.get(self._lease(run, step))
        return str(token) if token else None

    def drop(self, run: str, step: str, token: str) -> bool:
        """Take the lease from a holder that is dead. False: it had it no longer."""
        with reaching():
            return bool(self._redis.eval(_DROP, 1, self._lease(run, step), token))

    def losses(self, run: str) -> dict[str, int]:
        """Of each step how often its lease was taken and not given back, the present holder's included."""
        with reaching():
            counts = self._redis.hgetall(self._key("tries", check_run(run)))
        return {
            str(name).removesuffix(" lost"): int(count) for name, count in counts.items() if str(name).endswith(" lost")
        }

    def renew(self, run: str, step: str, token: str, seconds: float) -> bool:
        """False: the lease ran out meanwhile and is someone else's, or the step has its outcome."""
        keys = [self._lease(run, step), self._key("outcomes", run)]
        with reaching():
            return bool(self._redis.eval(_RENEW, len(keys), *keys, token, int(seconds * 1000), step))

    def release(self, run: str, step: str, token: str, *, cut_off: bool = False) -> None:
        """Give a lease back, also one that is someone else's by now where the holder was `cut_off` from the broker: it
        lives, so it counts as no loss."""
        keys = [self._lease(run, step), self._key("tries", run)]
        with reaching():
            self._redis.eval(_RELEASE, len(keys), *keys, token, step + " lost", int(cut_off))

    def is_leased(self, run: str, step: str) -> bool:
        with reaching():
            return bool(self._redis.exists(self._lease(run, step)))

    def count_wait(self, run: str, step: str) -> int:
        """How often the step has now been put off because something was unavailable."""
        with reaching():
            return self._count(run, step + " waited")

    def put_off(self, run: str, step: str, until: float) -> None:
        """Nobody is to try the step before `until`, in seconds since the epoch, however many messages there are."""
        with reaching():
            self._redis.hset(self._key("tries", check_run(run)), step + " until", repr(until))

    def put_off_until(self, run: str, step: str) -> float:
        with reaching():
            return float(self._redis.hget(self._key("tries", check_run(run)), step + " until") or 0)

    def first_time(self, run: str, what: str, now: float) -> float:
        """When that was first seen of a run, in seconds since the epoch; from now on, where a clock noted it that has
        been put back since."""
        first = float(self.first_said(run, what, repr(now)))
        if first <= now + _CLOCKS_DIFFER_SECONDS:
            return first
        self.forget_time(run, what)
        return float(self.first_said(run, what, repr(now)))

    def first_said(self, run: str, what: str, text: str) -> str:
        """What was first said of that in a run: the text itself, unless there is another."""
        key = self._key("tries", check_run(run))
        with reaching(), self._redis.pipeline() as pipe:
            pipe.hsetnx(key, what, text)
            pipe.hget(key, what)
            pipe.expire(key, KEPT)
            return str(pipe.execute()[1])

    def said(self, run: str, what: str) -> str | None:
        """What was said of that first, if anything was."""
        with reaching():
            text = self._redis.hget(self._key("tries", check_run(run)), what)
        return str(text) if text is not None else None

    def forget_time(self, run: str, what: str) -> None:
        with reaching():
            self._redis.hdel(self._key("tries", check_run(run)), what)

    def is_turn(self, what: str, seconds: float) -> bool:
        """Whether nobody has had a turn at something for so long."""
        with reaching():
            return bool(self._redis.eval(_TAKE, 1, self._key("turn", what), "1", int(seconds * 1000)))

    def is_turn_again(self, run: str, what: str, seconds: float) -> bool:
        """Whether nobody has had a turn at this of the run for so long, and twice as long after each."""
        with reaching():
            turns = int(self._redis.hget(self._key("tries", check_run(run)), f"{what} turns") or 0)
            if not self.is_turn(f"{run} {what}", seconds * 2 ** min(turns, 12)):
                return False
            self._count(run, f"{what} turns")
            return True

    def is_first(self, run: str, what: str) -> bool:
        """Whether nobody has asked this of the run before; for what is to be done once."""
        key = self._key("tries", check_run(run))
        with reaching(), self._redis.pipeline() as pipe:
            pipe.hsetnx(key, what, "1")
            pipe.expire(key, KEPT)
            return bool(pipe.execute()[0])

    def _count(self, run: str, what: str) -> int:
        key = self._key("tries", run)
        with self._redis.pipeline() as pipe:
            pipe.hincrby(key, what, 1)
            pipe.expire(key, KEPT)
            return int(pipe.execute()[0])

    def _lease(self, run: str, step: str) -> str:
        return self._key("lease", check_run(run), step)

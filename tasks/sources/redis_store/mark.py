"""How far one run has come in one server: a key there that moves on in the same step as what it tells of, so that who
takes over knows what was written, whatever has become of it since, and nobody writes whose turn is over.
"""

from __future__ import annotations

import re
import secrets
from itertools import count
from typing import Final

from tasks.errors import Unavailable
from tasks.sources.redis_store.connection import Argument, Connection, ErrorReply
from tasks.sources.redis_store.info import time_of
from tasks.sources.redis_store.servers import Shard, beside, slot
from tasks.sources.redis_store.walk import Key

_LASTS = 86_400_000
"""Milliseconds after which one is gone that nobody went on with."""
_FORM = re.compile(rb"([0-9a-f,]+) (\d+) ([\d,-]*) (\d+)")
"""Attempts, time, slots and position; what is none is somebody else's, and is left."""
_BEGIN = f"""
local head, position, home, here = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local function at_home(...)
  if home ~= here then redis.call('SELECT', home) end
  local said = redis.call(...)
  if home ~= here then redis.call('SELECT', here) end
  return said
end
local function move(to) at_home('SET', KEYS[1], head .. to, 'PX', {_LASTS}) end
if at_home('GET', KEYS[1]) ~= head .. position then return {{-1, ''}} end
"""
_RESTORE = f"""{_BEGIN}
local at, done = 5, 0
while at <= #ARGV do
  local size = ARGV[at]
  local said = redis.pcall('RESTORE', unpack(ARGV, at + 1, at + size))
  if said.err then
    if done > 0 then move(position + done) end
    return {{done, said.err}}
  end
  at, done = at + size + 1, done + 1
end
move(position + done)
return redis.status_reply('OK')
"""
_NAME = f"""{_BEGIN}
local passing, name, expires = ARGV[5], ARGV[6], ARGV[7]
if redis.call('EXISTS', passing) == 0 then return {{0, 'ERR what was written of it is gone'}} end
if expires == '-1' then redis.call('PERSIST', passing) else redis.call('PEXPIREAT', passing, expires) end
if redis.call('EXISTS', passing) == 1 and redis.call('RENAMENX', passing, name) == 0 then
  redis.call('UNLINK', passing)
  return {{0, 'EXISTS'}}
end
move(position + 1)
return redis.status_reply('OK')
"""
_PASS = f"{_BEGIN} move(position + 1) return redis.status_reply('OK')"
_TAKE = f"""
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', {_LASTS})
return 1
"""
_DROP = """
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class Mark:
    """Of one run in one shard: how many of the keys that the run writes there are written. `now` is the server's time,
    in milliseconds, when the run began there: what had expired by then is not among them."""

    MOST: Final = 1000
    """Keys to be written in one step, which is one moment of the server."""

    def __init__(self, shard: Shard, run: str, database: int) -> None:
        self.position = 0
        self.now = 0
        self._attempts = [secrets.token_hex(8)]
        """A token of each; this one is the last."""
        self._left = True
        self._shard, self._database = shard, database
        self._name = _name(shard, run)
        self._held = b""
        self._slots = ",".join(f"{first}-{last}" for first, last in shard.slots)

    def find(self) -> bool:
        """Whether the run has been here before, and written something. One of other slots has counted other keys."""
        with Connection(self._shard.place) as connection:
            if not self._goes_home(connection):
                return False
            held = connection.ask_all([("GET", self._name)])[0]
        if isinstance(held, bytes) and (found := _FORM.fullmatch(held)):
            self._held = held
            attempts, now, slots, position = found.groups()
            if slots.decode() == self._slots:
                self._attempts = [*attempts.decode().split(","), *self._attempts]
                self.now, self.position = int(now), int(position)
        return self.position > 0

    def take(self) -> bool:
        """False where the server does not let this user keep one. Raises `Unavailable` where somebody else did
        meanwhile."""
        with Connection(self._shard.place) as connection:
            self.now = self.now or time_of(connection)
            text = self._head + b"%d" % self.position
            if not self._goes_home(connection):
                return False
            taken = connection.ask_all([("EVAL", _TAKE, 1, self._name, self._held, text)])[0]
        if taken == 0:
            raise self._moved(connection)
        return not isinstance(taken, ErrorReply)

    def drop(self) -> None:
        """Unless another attempt has taken it."""
        self._drop(self._head)

    def drop_any(self) -> None:
        """Whoever has it."""
        self._drop(b"")

    def restoring(self, database: int, keys: int, arguments: int) -> bytes:
        """The beginning of one command that writes so many keys and is followed by so many arguments: for each key how
        many RESTORE has, and these. The answer is OK; else `refused` tells of it."""
        fixed: tuple[Argument, ...] = ("EVAL", _RESTORE, 1, self._name, self._head, self.position, self._database)
        made = b"*%d\r\n" % (len(fixed) + 1 + arguments)
        self.position += keys
        return made + b"".join(map(_bulk, (*fixed, database)))

    def name(self, connection: Connection, passing: bytes, key: Key) -> None:
        """Give what was written under a passing name its own, unless it has expired by now. Raises `ErrorReply`."""
        self._step(connection, _NAME, key.database, passing, key.name, key.expires)

    def pass_by(self, connection: Connection, key: Key) -> None:
        """The key is written."""
        self._step(connection, _PASS, key.database)

    def refused(self, connection: Connection, reply: object) -> tuple[int, ErrorReply]:
        """How many keys were written before the one that the server refused, and what it says of that one."""
        if isinstance(reply, ErrorReply):
            return 0, reply
        assert isinstance(reply, list)  # noqa: S101 - a script of this file answered
        done, says = reply
        if done < 0:
            raise self._moved(connection)
        return done, ErrorReply(says.decode("utf-8", "backslashreplace").removeprefix("-"))

    def passing(self, name: bytes) -> bytes:
        """What a large key is called until all of it is there."""
        return beside(name, self._attempts[-1])

    def left(self, name: bytes) -> list[bytes]:
        """What earlier attempts have called it: told once, as they ended before this one's first key, or in it."""
        earlier = self._attempts[:-1] if self._left else []
        self._left = False
        return [beside(name, token) for token in earlier]

    @property
    def _head(self) -> bytes:
        return f"{','.join(self._attempts)} {self.now} {self._slots} ".encode()

    def _step(self, connection: Connection, script: str, database: int, *arguments: Argument) -> None:
        fixed = (script, 1, self._name, self._head, self.position, self._database, database)
        reply = connection.ask_all([("EVAL", *fixed, *arguments)])[0]
        if reply != b"OK":
            raise self.refused(connection, reply)[1]
        self.position += 1

    def _drop(self, head: bytes) -> None:
        with Connection(self._shard.place) as connection:
            if self._goes_home(connection):
                connection.ask("EVAL", _DROP, 1, self._name, head)

    def _goes_home(self, connection: Connection) -> bool:
        """False where the server has no such database."""
        return not self._database or connection.ask_all([("SELECT", self._database)])[0] == b"OK"

    def _moved(self, connection: Connection) -> Unavailable:
        return Unavailable(
            f"{connection.place.shown} has lost what tells how far this restore has come, or another attempt has taken"
            " it over"
        )


def _name(shard: Shard, run: str) -> bytes:
    """In a slot of that shard."""
    plain = b"geometra-restore:run:" + run.encode()
    if shard.slots == Shard(shard.place).slots:
        return plain
    named = (plain + b"{%d}" % number for number in count())
    return next(name for name in named if any(first <= slot(name) <= last for first, last in shard.slots))


def _bulk(argument: Argument) -> bytes:
    data = str(argument).encode() if isinstance(argument, (str, int)) else bytes(argument)
    return b"$%d\r\n%b\r\n" % (len(data), data)

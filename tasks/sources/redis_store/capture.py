"""One pass over a server, or over every primary of a cluster: an RDB each, and the users."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from tasks.item import FILE, HELD, Entry, Facts, Flaw, Item, Stored, Stream
from tasks.sources.own_stream import InMemory
from tasks.sources.redis_store.connection import Connection, ErrorReply
from tasks.sources.redis_store.info import info
from tasks.sources.redis_store.place import Place
from tasks.sources.redis_store.scan import Scan
from tasks.sources.redis_store.servers import Shard, moving, resolved, shards
from tasks.sources.redis_store.snapshot import Forbidden, Snapshot
from tasks.sources.redis_store.stream import RdbStream
from tasks.sources.redis_store.tally import Tally

DUMP, USERS = b"dump.rdb", b"users.acl"
_CUT = "c1"
CONSISTENCY = {
    "snapshot": "one point in time",
    "scan": "each key as it was when it was read; what changed meanwhile may be older or newer than the rest",
}


class RedisCapture:
    """A `Capture`. Raises `Refused` where a method that was chosen is not allowed, `Unavailable`."""

    def __init__(self, place: Place, method: str, *, users: bool) -> None:
        self._place, self._method, self._users = place, method, users
        self.tally = Tally()
        self._facts: Facts = {}
        self._flaws: list[Flaw] = []
        self._methods: set[str] = set()
        self._in_parts = 0

    def __iter__(self) -> Iterator[Item]:
        with Connection(resolved(self._place)) as connection:
            server = info(connection, "server")
            version = server.get("valkey_version") or server.get("redis_version", "unknown")
            self._facts["server"] = f"{server.get('server_name', 'redis')} {version}"
            found = shards(connection)
            expected = int(info(connection, "memory").get("used_memory", 0)) // 2  # a dump of it is smaller
            users = self._read_users(connection)
        names = paths(found)
        before = moving(found) if names != [DUMP] else set()
        for path, shard in zip(names, found, strict=True):
            yield Item(Entry(path, FILE, size=-1), partial(self._open, shard.place, path), _CUT, expected=expected)
        if users is not None:
            self._facts["users"] = len(users.splitlines())
            entry = Entry(USERS, FILE, size=len(users))
            yield Item(entry, partial(InMemory, users, entry))
        if names != [DUMP]:
            self._look_for_moves(found, before)

    def _look_for_moves(self, found: list[Shard], before: set[bytes]) -> None:
        """A key that went from a server whose turn had not come to one whose turn was over is in neither's RDB."""
        with Connection(resolved(self._place)) as connection:
            now = shards(connection)
        if before or moving(now) or [shard.slots for shard in now] != [shard.slots for shard in found]:
            why = "slots went from server to server meanwhile: keys of theirs may be missing, or be there twice"
            self._flaws += [Flaw(path, "partial", why) for path in paths(found)]

    def stored(self, item: Stored) -> None: ...

    def flaws(self) -> Iterable[Flaw]:
        return self._flaws

    def facts(self) -> Facts:
        method = "scan" if "scan" in self._methods else "snapshot"
        consistency = CONSISTENCY[method]
        if method == "snapshot" and self._facts.get("shards"):
            consistency += " for each shard, not across them"
        made = {"method": method, "consistency": consistency, "keys_in_parts": self._in_parts}
        counted = {} if "not_counted" in self._facts else self.tally.facts() | self._held()
        return self._facts | made | counted

    def _held(self) -> Facts:
        """By the keys that never expire: where all others have, nothing was lost."""
        lasting = self.tally.lasting
        return {HELD: lasting} if lasting or not self.tally.keys else {}

    def _open(self, place: Place, path: bytes) -> Stream:
        if path != DUMP:
            self._facts["shards"] = self._facts.get("shards", 0) + 1
        entry = Entry(path, FILE, size=-1)
        if self._method != "scan":
            snapshot = Snapshot(place)
            try:
                snapshot.open()
            except Forbidden as error:
                snapshot.close()
                if self._method == "snapshot":
                    raise error.refused(place) from error
            except BaseException:
                snapshot.close()
                raise
            else:
                return RdbStream(snapshot, entry, place.shown, self.tally, done=partial(self._done, "snapshot"))
        scan = Scan(place)
        return RdbStream(scan, entry, place.shown, self.tally, done=partial(self._scanned, scan, path))

    def _scanned(self, scan: Scan, path: bytes, stream: RdbStream) -> None:
        self._in_parts += scan.in_parts
        self._flaws += [Flaw(path, "partial", why) for why in scan.flaws]
        self._done("scan", stream)

    def _done(self, method: str, stream: RdbStream) -> None:
        self._methods.add(method)
        self._facts["rdb_version"] = stream.walk.version
        if stream.unknown:
            self._facts["not_counted"] = f"the RDB holds {stream.unknown}, which this version does not know"

    def _read_users(self, connection: Connection) -> bytes | None:
        if not self._users:
            return None
        try:
            lines: list[bytes] = connection.call("ACL", "LIST")
        except ErrorReply as error:
            if not error.is_forbidden:
                raise connection.translated(error, "ACL LIST") from error
            return None
        return b"".join(line + b"\n" for line in sorted(lines))


def paths(found: list[Shard]) -> list[bytes]:
    """Of each shard's RDB, by its first slot: a failover changes none."""
    if len(found) == 1 and found[0] == Shard(found[0].place):
        return [DUMP]
    return [b"shard-%05d.rdb" % shard.slots[0][0] for shard in found]

"""Redis and Valkey: every key of every database, functions and users, over the network."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from tasks.errors import Damaged, SettingsError, SourceError
from tasks.item import Facts, Stored, StoredItems
from tasks.secret import Address, SecretReference
from tasks.settings import SourceSettings, TargetSettings
from tasks.sources.file_restore import restore_files
from tasks.sources.redis_store import rdb
from tasks.sources.redis_store.capture import RedisCapture
from tasks.sources.redis_store.checking import problems
from tasks.sources.redis_store.connection import Connection
from tasks.sources.redis_store.info import info
from tasks.sources.redis_store.place import Place, place_of
from tasks.sources.redis_store.restoring import Wanted, forget_run, restore_into
from tasks.sources.redis_store.scratch_server import loaded, program_like
from tasks.sources.redis_store.servers import resolved, shards
from tasks.sources.redis_store.tally import Tally
from tasks.sources.redis_store.walk import Walk
from tasks.sources.source import Problem, Rehearsal, Restoring

_PIECE = 1 << 20
_SOON = timedelta(minutes=10)
_DATABASES = 16  # as a server has that is not told otherwise
_BY_DATABASE = ("lasting", "expiring")


class RedisSettings(SourceSettings):
    """A Redis or Valkey server: every key of every database with its expiry, libraries of functions, and users."""

    url: Address = "redis://localhost:6379"
    """Where it is: `redis://host:6379`, `rediss://host:6379` (TLS), `unix:///run/redis/redis.sock`, or
    `redis+sentinel://host:26379,host:26379/name`, which reads from a replica that is in sync. One server of a cluster
    stands for all of it. A URL with a password in it: `env:NAME` or `file:PATH`."""

    username: str = ""
    """The ACL user. Empty: the default user."""

    password: SecretReference | None = None
    """Where the password is found."""

    sentinel_password: SecretReference | None = None
    """Where the sentinels' own password is found, if they have one."""

    ca_file: Path | None = None
    """For TLS: the certificates to trust, as a PEM file. Without it: those that this machine trusts."""

    certificate_file: Path | None = None
    """For TLS: the certificate to show, where the server wants one."""

    key_file: Path | None = None
    """For TLS: the key of that certificate."""

    method: Literal["auto", "snapshot", "scan"] = "auto"
    """`snapshot`: one point in time, over the replication protocol (rights: +sync +replconf +info,
    and +acl|whoami +acl|dryrun for `check` to see whether they are there). `scan`: each key as
    it is when it is read, for managed services that give no snapshot (rights: +scan +dump +pttl +pexpiretime
    +memory|usage +type +multi +exec +watch +time +select +function|dump and reading). A cluster needs +cluster|slots
    and +cluster|nodes too. `auto`: a snapshot if the server gives one; the snapshot's facts say which it was."""

    users: bool = True
    """Keep the ACL users too, with digests of their passwords, if this user may see them (+acl|list)."""


def _patterns(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class RedisTarget(TargetSettings):
    """A running Redis or Valkey server to restore into; older or newer than the one that was captured."""

    username: str = ""
    """The ACL user. Empty: the default user."""

    password: SecretReference | None = None
    """Where the password is found: `env:NAME` or `file:PATH`."""

    sentinel_password: SecretReference | None = None
    """Where the sentinels' own password is found, if they have one."""

    ca_file: Path | None = None
    """For TLS: the certificates to trust, as a PEM file."""

    certificate_file: Path | None = None
    """For TLS: the certificate to show, where the server wants one."""

    key_file: Path | None = None
    """For TLS: the key of that certificate."""

    database: int | None = Field(default=None, ge=0)
    """Only the keys of this database of the snapshot, which a number at the end of the URL means too. Without it: all
    databases."""

    keys: Annotated[tuple[str, ...], BeforeValidator(_patterns)] = ()
    """Only keys that match one of these patterns, as SCAN MATCH has them: `user:*`, `h?llo`, `[ab]*`. With
    `-o` again for each."""

    into_database: int | None = Field(default=None, ge=0)
    """Put the keys into this database, whatever they were in. Without it: into the database that they were in."""

    users: bool = False
    """Restore the ACL users too, but for the one that restores."""


class Redis:
    """A `Source` that is `Served`."""

    kind: ClassVar[str] = "redis"
    Settings: ClassVar[type[SourceSettings]] = RedisSettings
    Target: ClassVar[type[TargetSettings]] = RedisTarget

    def __init__(self, name: str, settings: RedisSettings) -> None:
        self.name = name
        self.settings = settings

    def check(self) -> list[Problem]:
        try:
            place = self._place()
        except SettingsError as error:
            return [Problem(str(error), f"mend `sources.{self.name}` in backup.toml")]
        return problems(place, self.settings.method, users=self.settings.users)

    def capture(self) -> RedisCapture:
        return RedisCapture(self._place(), self.settings.method, users=self.settings.users)

    def measure(self) -> int:
        """The bytes that the servers keep in memory: a dump of them is smaller."""
        size = 0
        with Connection(resolved(self._place())) as connection:
            found = shards(connection)
        for shard in found:
            with Connection(shard.place) as connection:
                size += int(info(connection, "memory").get("used_memory", 0))
        return size

    def restore(self, items: StoredItems, chosen: Iterable[Stored], into: Path, how: Restoring) -> list[str]:
        """As `dump.rdb`, which a server that starts there loads, and `users.acl`, its `aclfile`."""
        lines = restore_files(items, chosen, into, how)
        for name in ("appendonlydir", "appendonly.aof"):
            if (into / name).exists():
                lines.append(
                    f"`{into / name}` is there: a server with `appendonly yes` loads that and not `dump.rdb`; move it"
                    " away, and start once with `appendonly no`"
                )
        return lines

    def examine(self, scratch: Path) -> Facts:
        """Raises `SourceError`, `Damaged`."""
        return self._examined(scratch, Tally())

    def restore_into(
        self, items: StoredItems, chosen: Iterable[Stored], target: RedisTarget, how: Restoring
    ) -> list[str]:
        place = place_of(target)
        return restore_into(items, chosen, place, self._wanted(place, target, how))

    def forget_run(self, target: RedisTarget | Path, how: Restoring) -> None:
        if isinstance(target, Path):
            return
        place = place_of(target)
        forget_run(place, self._wanted(place, target, how))

    @staticmethod
    def _wanted(place: Place, target: RedisTarget, how: Restoring) -> Wanted:
        return Wanted(
            database=target.database if target.database is not None else place.database,
            keys=target.keys,
            into=target.into_database,
            users=target.users if "users" in target.model_fields_set else None,
            overwrite=how.overwrite,
            run=how.run,
        )

    def examine_at(self, target: RedisTarget) -> Facts:
        """By this source's own method, so that what is counted is alike. Without keys that may expire meanwhile."""
        # Not from a replica that sentinels know of: it may not have got all of it yet.
        place = resolved(place_of(target), writing=True)
        return _facts_of(RedisCapture(place, self.settings.method, users=False))

    def rehearse(self, items: StoredItems, captured: Facts, scratch: Path) -> Rehearsal:
        """Each RDB is read here, key by key, and loaded by a server, which is asked what it holds. Values count as they
        are encoded, which differs from server to server: of those only their number is asked."""
        missed = self.restore(items, items, scratch, Restoring(owners=False))
        counted: Facts = {}
        tally = Tally()
        if "not_counted" in captured:
            missed.append(f"it was only loaded, and not counted: {captured['not_counted']}")
        else:
            counted = self._examined(scratch, tally)
        databases = 1 + max((int(name) for key in _BY_DATABASE for name in counted.get(key, {})), default=0)
        held: Facts = {"functions": 0, "lasting": {}}
        for file in sorted(scratch.glob("*.rdb")):
            with loaded(file, str(captured.get("server", "")), max(databases, _DATABASES)) as place:
                found = _facts_of(RedisCapture(place, "snapshot", users=False))
            held["functions"] += found["functions"]
            for database, types in found["lasting"].items():
                there = held["lasting"].setdefault(database, {})
                for kind, count in types.items():
                    there[kind] = there.get(kind, 0) + count
        for database, passing in tally.passing().items():
            before, there = counted["lasting"][database]["hash"], held["lasting"].setdefault(database, {})
            if before - passing <= there.get("hash", 0) < before:
                there["hash"] = before
        return Rehearsal((counted, held) if counted else (), missed)

    def rehearsing(self) -> None:
        program_like("")

    def _examined(self, scratch: Path, tally: Tally) -> Facts:
        try:
            found = sorted(scratch.glob("*.rdb"))
            if not found:
                raise SourceError(f"`{scratch}` holds no RDB")
            for file in found:
                _count(file, tally)
            users = scratch / "users.acl"
            counted: Facts = {"users": len(users.read_bytes().splitlines())} if users.exists() else {}
        except OSError as error:
            raise SourceError(f"the restored copy in `{scratch}` can't be read: {error}") from error
        return counted | tally.facts()

    def _place(self) -> Place:
        place = place_of(self.settings)
        if place.database is not None:
            raise SettingsError(f"every database is captured: leave /{place.database} out of the URL")
        return place


def _facts_of(capture: RedisCapture) -> Facts:
    """Of all that it captures, without keys that may expire meanwhile."""
    buffer = memoryview(bytearray(_PIECE))
    for item in capture:
        if item.open is None:
            continue
        stream = item.open()
        try:
            while stream.readinto(buffer):
                pass
        finally:
            stream.close()
    return capture.tally.facts(after=datetime.now(UTC) + _SOON)


def _count(file: Path, tally: Tally) -> None:
    walk, ending = Walk(tally), rdb.Ending()
    buffer = memoryview(bytearray(_PIECE))
    with file.open("rb", buffering=0) as opened:
        while count := opened.readinto(buffer):
            ending.add(buffer[:count])
            try:
                walk.feed(buffer[:count])
            except rdb.NotWalked as error:
                raise SourceError(f"`{file}` holds {error}, which this version does not know") from error
    if not walk.ended or not ending.is_right:
        raise Damaged(f"`{file}` is damaged: it has no end, or another checksum than its own")

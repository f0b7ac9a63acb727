"""A snapshot's RDB into a running server, or into every primary of a cluster: all of it, one database, or some keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from tasks.errors import TO_OVERWRITE, BackupError, Damaged, NewerFormat, NotFound, Unavailable
from tasks.item import Stored, StoredItems
from tasks.sources.redis_store import rdb
from tasks.sources.redis_store.capture import USERS
from tasks.sources.redis_store.connection import Connection
from tasks.sources.redis_store.info import databases
from tasks.sources.redis_store.mark import Mark
from tasks.sources.redis_store.place import Place
from tasks.sources.redis_store.selection import Conflicts, Selected, Twice
from tasks.sources.redis_store.servers import Shard, keeps_all, resolved, shards, slot, target_warnings
from tasks.sources.redis_store.users import others_than_default, restore_users
from tasks.sources.redis_store.walk import Key, Visitor, Walk
from tasks.sources.redis_store.writing import Writer

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to restore: all, or one database, or keys that match a pattern; and into which database. `users` is None
    where nothing was said of them: they are left, and told of where all else comes back. With the id of a `run` what
    was cut off goes on, unless it overwrites, which it does from the start again."""

    database: int | None = None
    keys: tuple[str, ...] = ()
    into: int | None = None
    users: bool | None = None
    overwrite: bool = False
    run: str = ""

    @property
    def everything(self) -> bool:
        return self.database is None and not self.keys and self.into is None

    @property
    def home(self) -> int:
        """The database of marks: one that is written to, where that is known."""
        return self.into if self.into is not None else self.database or 0


def restore_into(items: StoredItems, chosen: Iterable[Stored], place: Place, wanted: Wanted) -> list[str]:
    """Returns a line for what was not given back, and for what may undo it. Raises, before anything is written,
    `Occupied` where a key is there already, and `Refused` where two would become one; `Damaged` in the end, when the
    keys that come before what is damaged are written, and so `NewerFormat` for what only a newer server knows.

    A mark is left of a run that wrote all of it, or was cut off, or raises `Unavailable`: it knows by that what it has
    written, until `forget_run`."""
    chosen = list(chosen)
    dumps = [item for item in chosen if item.entry.path.endswith(b".rdb")]
    users = [item for item in chosen if item.entry.path == USERS]
    lines: list[str] = []
    with Connection(resolved(place, writing=True)) as connection:
        lines += target_warnings(connection)
        found = shards(connection)
        goes_on = bool(wanted.run) and not wanted.overwrite and keeps_all(connection)
    marks = [Mark(shard, wanted.run, wanted.home) for shard in found] if goes_on and dumps else []
    begun = [mark.find() for mark in marks]
    if wanted.into is not None and wanted.database is None:
        twice = Twice()
        for dump in dumps:
            with suppress(Damaged, NewerFormat):  # told by the walk that writes
                walk_through(items, dump, _selected(twice, wanted))
        twice.settle()
    if dumps and not wanted.overwrite and not any(begun):
        _look_for_conflicts(items, dumps, found, wanted)
    if wanted.users:
        if not users:
            lines.append("no users were restored: the snapshot holds none, or they were not chosen")
        for shard in found if users else ():
            with Connection(shard.place) as connection:
                lines += restore_users(connection, items, users[0])
    elif wanted.users is None and wanted.everything and users and (names := others_than_default(items, users[0])):
        lines.append(f"users, which are restored with `-o users=true`: `{'`, `'.join(names)}`")
    if dumps:
        lines += _write_marked(items, dumps, _Servers(found, marks), wanted)
    return lines


def forget_run(place: Place, wanted: Wanted) -> None:
    """Remove the marks of a run that has come to its end."""
    with Connection(resolved(place, writing=True)) as connection:
        found = shards(connection)
    for shard in found:
        Mark(shard, wanted.run, wanted.home).drop_any()


class _Servers(NamedTuple):
    """Those that are written to, and their marks, if there are any."""

    found: list[Shard]
    marks: list[Mark]

    def writers(self, stack: ExitStack, *, overwrite: bool) -> list[Writer]:
        return [
            stack.enter_context(closing(Writer(Connection(shard.place), overwrite=overwrite, mark=mark)))
            for shard, mark in zip_longest(self.found, self.marks)
        ]


def _write_marked(items: StoredItems, dumps: list[Stored], servers: _Servers, wanted: Wanted) -> list[str]:
    marks = servers.marks
    taken = [mark.take() for mark in marks]
    if not all(taken):
        for mark in marks:
            with suppress(BackupError):
                mark.drop()
        servers = servers._replace(marks=[])
    try:
        return _write(items, dumps, servers, wanted)
    except Unavailable:
        raise
    except BackupError:
        for mark in marks:
            with suppress(BackupError):
                mark.drop()
        raise


def _look_for_conflicts(items: StoredItems, dumps: list[Stored], found: list[Shard], wanted: Wanted) -> None:
    with ExitStack() as stack:
        looking = []
        held = False
        for shard in found:
            connection = stack.enter_context(Connection(shard.place))
            held = held or bool(databases(connection))
            looking.append(Conflicts(connection))
        if not held:
            return
        router = Router(looking, found)
        for dump in dumps:
            with suppress(Damaged, NewerFormat):  # told by the walk that writes
                walk_through(items, dump, _selected(router, wanted))
        for each in looking:
            each.settle()


def _write(items: StoredItems, dumps: list[Stored], servers: _Servers, wanted: Wanted) -> list[str]:
    with ExitStack() as stack:
        writers = servers.writers(stack, overwrite=wanted.overwrite)
        router = Router(writers, servers.found)
        count = 0
        stopped: Damaged | NewerFormat | None = None
        try:
            for dump in dumps:
                selected = _selected(router, wanted)
                try:
                    walk_through(items, dump, selected, writers)
                except (Damaged, NewerFormat) as error:
                    stopped = stopped or error
                    count -= sum([writer.abandon() for writer in writers])
                    for writer in writers:
                        writer.go_unmarked()  # who reads this without an error would count otherwise from here on
                count += selected.count
            for writer in writers:
                writer.settle()
        except BackupError as error:
            written = sum(writer.written for writer in writers)
            if not written:
                raise
            raise _half_way(error, written, overwrite=wanted.overwrite, goes_on=bool(servers.marks)) from error
        expired = sum(writer.expired for writer in writers)
        lines = [line for writer in writers for line in writer.lines]
    if stopped:
        raise _cut_off(stopped, count - expired) from stopped
    if not count and not wanted.everything:
        named = f"a key that matches `{'`, `'.join(wanted.keys)}`" if wanted.keys else "keys"
        where = "" if wanted.database is None else f" in database {wanted.database}"
        raise NotFound(f"the snapshot holds no {named.removeprefix('a ')}{where}")
    if expired:
        lines.append(f"{expired} keys had expired by now and were not restored")
    return list(dict.fromkeys(lines))


def _cut_off(error: Damaged | NewerFormat, count: int) -> BackupError:
    told = f"{error}; {count:,} keys were restored, but none that come behind that in the snapshot"
    if isinstance(error, NewerFormat):
        return NewerFormat(told)
    return Damaged(f"{told}: another destination, or an older snapshot, may have them")


def _half_way(error: BackupError, written: int, *, overwrite: bool, goes_on: bool) -> BackupError:
    if goes_on and isinstance(error, Unavailable):
        return type(error)(f"{error}. {written:,} keys were restored by then; the same run goes on behind them")
    again = "" if overwrite else f", and {TO_OVERWRITE}, as these are there now"
    return type(error)(f"{error}. {written:,} keys were restored by then: restore again{again}")


def _selected(visitor: Visitor, wanted: Wanted) -> Selected:
    return Selected(visitor, database=wanted.database, keys=wanted.keys, into=wanted.into)


def walk_through(items: StoredItems, dump: Stored, visitor: Visitor, writers: Sequence[Writer] = ()) -> Walk:
    """Tell a stored RDB to a visitor. Raises `Damaged` where it does not end as one must, `NewerFormat` for what is not
    known here."""
    walk = Walk(visitor)
    stream = items.open(dump)
    ending = rdb.Ending()
    buffer = memoryview(bytearray(_PIECE))
    try:
        while count := stream.readinto(buffer):
            ending.add(buffer[:count])
            for writer in writers:
                writer.version = walk.version or rdb.version_of(bytes(buffer[: rdb.MAGIC]))
            walk.feed(buffer[:count])
    except rdb.NotWalked as error:
        raise NewerFormat(
            f"the snapshot comes from a server that is too new for this version, which does not know {error} in it, and"
            " is whole: update geometra-backup, or restore into a folder and have such a server load the file"
        ) from error
    finally:
        stream.close()
    if not walk.ended or not ending.is_right:
        raise Damaged(f"`{dump.entry.path.decode()}` is no whole RDB: it ends too early, or has another checksum")
    return walk


class Router:
    """A `Visitor` that tells each key to the visitor of the shard that has its slot; functions to all."""

    def __init__(self, visitors: Sequence[Visitor], found: Sequence[Shard]) -> None:
        self._visitors = visitors
        self._current = visitors[0]
        self._alone = len(visitors) == 1
        if self._alone:
            self.value = visitors[0].value  # type: ignore[method-assign]  # one call less for every key
        self._slots = [(first, last, at) for at, shard in enumerate(found) for first, last in shard.slots]

    def function(self, code: bytes) -> None:
        for visitor in self._visitors:
            visitor.function(code)

    def value(self, key: Key, data: bytes) -> None:
        self._of(key).value(key, data)

    def begin(self, key: Key, count: int) -> None:
        self._current = self._of(key)
        self._current.begin(key, count)

    def piece(self, data: bytes, *, last: bool) -> None:
        self._current.piece(data, last=last)

    def finish(self) -> None:
        self._current.finish()

    def _of(self, key: Key) -> Visitor:
        if self._alone:
            return self._visitors[0]
        number = slot(key.name)
        return next(self._visitors[at] for first, last, at in self._slots if first <= number <= last)

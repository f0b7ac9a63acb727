"""Put databases into a running server: one is made beside what is there, and gets its name when it is complete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import TO_OVERWRITE, BackupError, Damaged, NoSpace, Occupied, Refused, SettingsError, Unavailable
from tasks.item import Stored, StoredItems
from tasks.sources.postgresql import catalogue, creating, in_work
from tasks.sources.postgresql.filling import Filling
from tasks.sources.postgresql.programs import Programs, programs_for
from tasks.sources.postgresql.roles import apply_roles
from tasks.sources.postgresql.server import Server
from tasks.sources.postgresql.snapshot_items import DatabaseItems, databases_in, read_whole
from tasks.sources.postgresql.tables_restore import (
    drop_unfinished,
    hold_tables,
    load_existing,
    make_tables,
    mark,
    missing_tables,
)

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]


_NAMED = 3


@dataclass(frozen=True, slots=True)
class Way:
    """How to restore: see the options of the target, and `Restoring`."""

    database: str = ""
    name: str = ""
    table: str = ""
    schema_only: bool = False
    roles: bool = True
    jobs: int = 2
    programs: Path | None = None
    overwrite: bool = False
    owners: bool = True
    again: bool = False
    run: str = ""

    def may_replace(self, comment: str | None) -> bool:
        """What is left under its own name, with that comment, of a restore that was cut off."""
        return self.overwrite or (self.again and comment == in_work.mark(self.run))


def restore_into_server(items: StoredItems, chosen: Iterable[Stored], server: Server, way: Way) -> list[str]:
    """Returns what could not be given back, a line each. Raises `Occupied`, `Refused`, `Unavailable`, `SettingsError`,
    `NotFound`, `Damaged`; a database that was to be replaced is then what it was before."""
    databases, roles = databases_in(items, chosen)
    databases = _meant(databases, way)
    missed: list[str] = []
    broken: list[str] = []
    lost: dict[str, str] = {}
    with closing(server.connect()) as connection, server.explained("can't restore"):
        superuser, major = creating.is_superuser(connection), connection.info.server_version // 10000
        suitable = [_programs(each, major, way.programs) for each in databases]
        for each in databases:
            if not each.rows_only and not way.overwrite:
                _check_free(server, connection, way, each)
        left = [name for name in creating.left_over(connection) if not in_work.is_held(connection, name)]
        if way.overwrite or way.again:
            ours = tuple(creating.passing_beginning(way.name or each.name) for each in databases)
            left = [name for name in left if not (name.startswith(ours) and creating.drop_left(connection, name))]
        missed += [f"the database `{name}` is left from a restore that was cut off: drop it" for name in left]
        if roles is not None and way.roles and way.owners and not way.table:
            missed += apply_roles(server, connection, read_whole(items, roles).decode("utf-8", "surrogateescape"))
        there = {name for (name,) in connection.execute("SELECT spcname FROM pg_catalog.pg_tablespace")}
    if way.owners and not superuser:
        missed.append("owners and privileges: only a superuser gives them; all belongs to the user who restored")
    for database, programs in zip(databases, suitable, strict=True):
        filling = Filling(
            server,
            programs,
            major,
            items,
            database,
            owners=way.owners and superuser,
            tablespaces=there.issuperset(database.document.database.tablespaces),
            schema_only=way.schema_only,
            jobs=way.jobs,
            missed=missed,
            broken=broken,
            lost=lost,
        )
        if not filling.tablespaces:
            absent = ", ".join(f"`{name}`" for name in database.document.database.tablespaces if name not in there)
            missed.append(f"tablespaces: the server has no {absent}; what was there is in the default one")
        try:
            _restore_database(filling, way)
        except (NoSpace, Unavailable) as error:
            if not left:
                raise
            takes = f"left from a restore that was cut off, and to be dropped: `{'`, `'.join(left)}`"
            raise type(error)(f"{error}; {takes}") from error
    if lost:
        also = f"; nor what relies on that: {_some(broken)}" if broken else ""
        raise Damaged(
            f"{server.name}: all else was restored, but not {_some(list(lost))}, which is damaged"
            f" ({next(iter(lost.values()))}){also}: another destination, or an older snapshot, may have it"
        )
    if broken:
        raise Refused(f"{server.name}: all else was restored, but not {_some(broken)}")
    return missed


def _some(lines: list[str]) -> str:
    more = f"; and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    return "; ".join(lines[:_NAMED]) + more


def _meant(databases: list[DatabaseItems], way: Way) -> list[DatabaseItems]:
    found = [each for each in databases if way.database in ("", each.name)]
    if not found:
        known = ", ".join(f"`{each.name}`" for each in databases) or "none"
        wanted = f"`{way.database}`" if way.database else "any database"
        raise SettingsError(f"what is restored does not hold {wanted}, but {known}")
    if len(found) > 1 and (way.name or way.table):
        raise SettingsError("name the one `database` that is meant: the snapshot has more than one")
    if way.table:
        found[0].choose_table(way.table)
    if way.schema_only and any(each.rows_only for each in found):
        raise SettingsError("the schema alone is that of a whole database: leave out `table`, or `schema_only`")
    return found


def _programs(database: DatabaseItems, server: int, folder: Path | None) -> Programs:
    captured = database.document.database.major
    if server < captured:
        raise Refused(
            f"`{database.name}` comes from PostgreSQL {captured} and can't go into a server of version {server}:"
            f" restore into version {captured} or newer"
        )
    # An archive is read by the version that wrote it or a newer one, and so is a server.
    return programs_for(max(database.document.written_by, server), folder)


def _restore_database(filling: Filling, way: Way) -> None:
    server, database = filling.server, filling.database
    name = way.name or database.name
    with closing(creating.maintenance(server, name)) as connection:
        with server.explained(f"can't make the database `{name}`"):
            there = creating.exists(connection, name)
            unfinished = _unfinished(connection, name) if there else None
            occupied = there and creating.holds_anything(server, name)
            encoding, sorts = creating.otherwise(connection, name, database.document.database) if there else ("", "")
            unlike = bool(encoding) and bool(database.document.tables)
        if occupied and unfinished and not way.may_replace(unfinished):
            raise _cut_off(name)
        if occupied and database.rows_only and not unfinished:
            _restore_tables(filling, connection, name, way)
            return
        if occupied and not unfinished and not way.overwrite:
            raise _occupied(name)
        whole = not database.rows_only
        if unlike and not occupied and not way.overwrite:
            raise _unlike(name, encoding, database)
        if there and not occupied and not unlike:
            # It may have been made by someone who may make databases, for one who may not.
            if sorts:
                filling.missed.append(f"the database `{name}` was there, and sorts as `{sorts}` says: not as it did")
            _fill_what_is_there(filling, connection, name, way, whole=whole)
        else:
            with _beside(filling, connection, name) as made:
                try:
                    filling.fill(made, whole=whole, strict=occupied or bool(way.table))
                except Damaged as error:
                    if occupied:
                        raise Damaged(
                            f"{error}; `{name}` is what it was: all else comes back beside it (`as`)"
                        ) from error
                    raise
                _give_properties(filling, connection, made, name)
                with server.explained(f"can't give the restored database its name `{name}`"):
                    left = creating.put_in_place(connection, made, name, replace=there)
                filling.missed += [left] if left else []


def _fill_what_is_there(filling: Filling, connection: Connection, name: str, way: Way, *, whole: bool) -> None:
    """With a comment until it is complete, whoever is killed: half of it must not pass for the database."""
    with filling.server.explained(f"can't prepare `{name}`"):
        held, before = in_work.hold(connection, name), in_work.comment_of(connection, name)
        if not held:
            raise _running(name)
        if creating.holds_anything(filling.server, name):  # by now
            raise _cut_off(name) if in_work.is_mark(before) else _occupied(name)
        mark = in_work.mark(way.run)
        marked = in_work.comment(connection, name, mark)
    filling.fill(name, whole=whole, strict=bool(way.table))
    _give_properties(filling, connection, name, name)
    with filling.server.explained(f"can't give `{name}` its properties"):
        if marked and in_work.comment_of(connection, name) == mark:
            in_work.comment(connection, name, None if in_work.is_mark(before) else before)


def _unfinished(connection: Connection, name: str) -> str | None:
    """The mark of a restore that was cut off and has left a part of the database under its own name, if one has. Raises
    `Occupied` where one is running."""
    comment = in_work.comment_of(connection, name)
    if not in_work.is_mark(comment):
        return None
    if in_work.is_held(connection, name):
        raise _running(name)
    return comment


def _give_properties(filling: Filling, connection: Connection, made: str, name: str) -> None:
    """To what will be called `name`: no database has that name without its owner and privileges."""
    statements = creating.properties(made, filling.database.document.database, owners=filling.owners)
    with filling.server.explained(f"can't give `{name}` its properties"):
        creating.each(
            connection,
            statements,
            lambda line: filling.missed.append(line.replace(catalogue.quoted(made), catalogue.quoted(name))),
        )


def _check_free(server: Server, connection: Connection, way: Way, database: DatabaseItems) -> None:
    name = way.name or database.name
    if not creating.exists(connection, name):
        return
    unfinished = _unfinished(connection, name)
    if creating.holds_anything(server, name):
        if unfinished and way.may_replace(unfinished):
            return
        raise _cut_off(name) if unfinished else _occupied(name)
    encoding, _ = creating.otherwise(connection, name, database.document.database)
    if encoding and database.document.tables:
        raise _unlike(name, encoding, database)


def _unlike(name: str, encoding: str, database: DatabaseItems) -> Occupied:
    return Occupied(
        f"the database `{name}` is there, empty, and its encoding is {encoding} instead of"
        f" {database.document.database.encoding}: drop it, restore under another name (`as`), or"
        f" {TO_OVERWRITE}"
    )


def _occupied(name: str) -> Occupied:
    return Occupied(f"the database `{name}` has data already: restore under another name (`as`), or {TO_OVERWRITE}")


def _running(name: str) -> Occupied:
    return Occupied(f"another restore is filling the database `{name}`: let it end, or end it")


def _cut_off(name: str) -> Occupied:
    return Occupied(
        f"the database `{name}` holds a part of itself, from a restore that was cut off: {TO_OVERWRITE}, or drop it"
    )


@contextmanager
def _beside(filling: Filling, connection: Connection, name: str) -> Iterator[str]:
    """A database of its own under a passing name; gone afterwards, unless it has got another name meanwhile."""
    made, like = creating.temporary_name(name), filling.database.document.database
    with filling.server.explained(f"can't make the database `{name}` with the locale `{like.locale or like.collate}`"):
        in_work.hold(connection, made)
        creating.create(connection, made, like, tablespaces=filling.tablespaces)
    try:
        yield made
    finally:
        # The error that ended the restore matters more.
        with suppress(BackupError), filling.server.explained(f"can't drop `{made}`"):
            creating.drop(connection, made)


def _restore_tables(filling: Filling, connection: Connection, name: str, way: Way) -> None:
    server = filling.server
    with closing(server.connect(name)) as inside:
        drop_unfinished(inside, filling, name, mark(way.run) if way.again else "", overwrite=way.overwrite)
        with server.explained(f"can't look into `{name}`"):
            missing = missing_tables(inside, filling)
        if not missing:
            load_existing(inside, filling, name, overwrite=way.overwrite)
            return
    hold_tables(connection, filling, name, missing)
    with _beside(filling, connection, name) as scratch:
        with filling.schema_file() as schema:
            filling.restore(scratch, schema, "--section=pre-data", "--schema-only")
            filling.restore(scratch, schema, "--section=post-data", "--schema-only")
        make_tables(filling, scratch, name, missing, marked=mark(way.run), overwrite=way.overwrite)

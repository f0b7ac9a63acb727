"""One pass over a server: roles, then each database within a moment of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial

from tasks.errors import BackupError, Refused, SourceError
from tasks.item import FILE, FOLDER, HELD, Entry, Facts, Flaw, Item, Stored, Stream
from tasks.sources.own_stream import InMemory
from tasks.sources.path_text import path_text
from tasks.sources.postgresql import catalogue, databases, dump, names, roles
from tasks.sources.postgresql.document import Document, readme
from tasks.sources.postgresql.dump import DumpStream
from tasks.sources.postgresql.facts import TableFacts, large_objects_facts, sequences_facts, tables_facts
from tasks.sources.postgresql.moment import Moment, Patience
from tasks.sources.postgresql.programs import Programs
from tasks.sources.postgresql.rows import RowReader, RowStream
from tasks.sources.postgresql.server import Server


@dataclass(frozen=True, slots=True)
class Manner:
    """How to capture: see the settings of the source."""

    patience: Patience
    sessions: int
    roles: bool
    large_objects: bool


class ServerCapture:
    """A `Capture` of the named databases."""

    def __init__(self, server: Server, programs: Programs, databases: Sequence[str], manner: Manner) -> None:
        self._server, self._programs, self._manner = server, programs, manner
        self._databases = sorted(databases, key=names.file_name)
        self._captured: dict[str, DatabaseCapture] = {}
        self._files: dict[str, str] = {}
        self._flaws: list[Flaw] = []
        self._refused: list[BackupError] = []
        self._passwords = False

    def __iter__(self) -> Iterator[Item]:
        yield in_memory(names.README, readme())._replace(want_digest=False)
        if self._manner.roles:
            yield folder(names.CLUSTER)
            with closing(self._server.connect()) as connection:
                self._passwords = roles.can_read_passwords(connection)
            script = roles.roles(self._server, self._programs, passwords=self._passwords)
            yield in_memory(names.ROLES, script)
            yield in_memory(names.TABLESPACES, roles.tablespaces(self._server, self._programs))
        yield folder(names.DATABASES)
        for name in self._databases:
            with ExitStack() as stack:
                try:
                    moment = stack.enter_context(Moment(self._server, name, self._manner.patience))
                    capture = DatabaseCapture(moment, self._programs, self._manner)
                except (SourceError, Refused) as error:
                    self._leave_out(name, error)
                    continue
                self._captured[name] = capture
                yield from capture
                self._flaws += capture.flaws
                # The last of it may have been read after what makes it true was lost.
                moment.check()
        if self._refused and not self._captured:
            raise self._refused[0]

    def _leave_out(self, database: str, error: BackupError) -> None:
        """One that can't be captured, as it lets nobody in, costs the others nothing. Nothing of it was given out."""
        path = names.database_path(database)
        if not self._is_there(database):
            self._flaws.append(Flaw(path, "vanished", "it was dropped meanwhile"))
        else:
            self._refused.append(error)
            self._flaws.append(Flaw(path, "unreadable", str(error)))

    def _is_there(self, database: str) -> bool:
        with closing(self._server.connect()) as connection, self._server.explained("can't look at the server"):
            return database in dict(databases.names_of(connection))

    def stored(self, item: Stored) -> None:
        path, digest = item.entry.path, item.entry.digest.hex()
        if path.endswith(names.COPY):
            for capture in self._captured.values():
                capture.stored(path, digest)
        elif digest:
            self._files[path_text(path)] = digest

    def flaws(self) -> Iterable[Flaw]:
        return self._flaws

    def facts(self) -> Facts:
        server = next((each.document.database.version for each in self._captured.values()), "")
        return {
            "server": server,
            "client": self._programs.version,
            "role_passwords": self._passwords,
            "files": self._files,
            HELD: sum(capture.held for capture in self._captured.values()),
            **database_facts({name: capture.facts() for name, capture in self._captured.items()}),
        }


def database_facts(of: dict[str, Facts]) -> Facts:
    """From facts by database to databases by fact: what a copy can't show may then be left out."""
    kinds = dict.fromkeys(kind for facts in of.values() for kind in facts)
    return {kind: {name: facts[kind] for name, facts in of.items() if kind in facts} for kind in kinds}


class DatabaseCapture:
    """The items of one database, within its moment."""

    def __init__(self, moment: Moment, programs: Programs, manner: Manner) -> None:
        self.flaws: list[Flaw] = []
        self.document = look(moment, programs, large_objects=manner.large_objects)
        self._moment, self._programs, self._manner = moment, programs, manner
        with moment.explained("can't read the catalogue"):
            self._hiding = catalogue.hiding(moment.keeper, moment.relations)
        self._streams: dict[bytes, RowStream] = {}
        self._tables: dict[bytes, TableFacts] = {}

    def __iter__(self) -> Iterator[Item]:
        document, name = self.document, self.document.database.name
        placed = sorted(
            ((names.table_path(name, table.schema, table.name), table) for table in document.tables),
            key=lambda pair: pair[0].split(b"/"),
        )
        readable = [(path, table) for path, table in placed if self._is_readable(path, table)]
        # Everything that the server does is under way from here on, while the engine takes one item after the other.
        without = () if self._manner.large_objects else dump.NO_LARGE_OBJECTS
        schema = dump.dump(self._moment, self._programs, *dump.SCHEMA, *without)
        reader = RowReader(
            self._moment,
            self._programs,
            [table for _, table in readable],
            encoding=document.database.encoding,
            sessions=self._manner.sessions,
        )
        yield folder(names.database_path(name))
        yield in_memory(names.database_path(name, names.DOCUMENT), document.to_bytes())
        if document.large_objects.get("count"):
            entry = file(names.database_path(name, names.LARGE_OBJECTS))
            yield Item(entry, partial(self._large_objects, entry), want_digest=True)
        yield in_memory(names.database_path(name, names.ROWS), document.rows_script())
        entry = file(names.database_path(name, names.SCHEMA))
        yield Item(entry, partial(DumpStream, self._moment, schema, entry), want_digest=True)
        yield folder(names.database_path(name, names.TABLES))
        last = b""
        for path, table in readable:
            if (above := path.rpartition(b"/")[0]) != last:
                yield folder(last := above)
            entry = file(path)
            yield Item(entry, partial(self._rows, reader, table, entry), want_digest=True)

    def stored(self, path: bytes, digest: str) -> None:
        """The digest of the rows at that path, if they are of this database."""
        stream = self._streams.pop(path, None)
        if stream:
            rows = stream.rows
            self._tables[path] = TableFacts(rows.table.counted_as, rows.count, rows.row_sum or digest)

    @property
    def held(self) -> int:
        """Rows and large objects."""
        objects: int = self.document.large_objects.get("count", 0)
        return objects + sum(table.rows for table in self._tables.values())

    def facts(self) -> Facts:
        return {"tables": tables_facts(self._tables.values()), **catalogue_facts(self.document)}

    def _is_readable(self, path: bytes, table: catalogue.Table) -> bool:
        unlogged = {(each.schema, each.name) for each in self._moment.relations if each.unlogged}
        if (table.schema, table.name) in self._hiding:
            why = "row security hides rows of it from the user who captures: give that one the attribute BYPASSRLS"
            self.flaws.append(Flaw(path, "unreadable", why))
            return False
        if self._moment.on_standby and (table.schema, table.name) in unlogged:
            self.flaws.append(Flaw(path, "unreadable", "a standby has no rows of unlogged tables: capture its primary"))
            return False
        return True

    def _large_objects(self, entry: Entry) -> Stream:
        return DumpStream(self._moment, dump.dump(self._moment, self._programs, *dump.LARGE_OBJECTS), entry)

    def _rows(self, reader: RowReader, table: catalogue.Table, entry: Entry) -> Stream:
        stream = self._streams[entry.path] = RowStream(reader.rows(table), entry)
        return stream


def look(moment: Moment, programs: Programs, *, large_objects: bool = True) -> Document:
    """All that the catalogue says, in the moment; with `large_objects`, what there is to say of them."""
    keeper = moment.keeper
    with moment.explained("can't read the catalogue"):
        database = databases.database(keeper)
        objects: Facts = {}
        if large_objects:
            with moment.taking_its_time():
                objects = large_objects_facts(keeper)
        return Document(
            database,
            tuple(catalogue.tables(keeper, moment.relations, plain_order=database.plain_order)),
            tuple(catalogue.sequences(keeper, moment.relations)),
            databases.extensions(keeper),
            catalogue.object_counts(keeper),
            objects,
            programs.version,
        )


def catalogue_facts(document: Document) -> Facts:
    return {
        "sequences": sequences_facts(document.sequences),
        "large_objects": document.large_objects,
        "extensions": document.extensions,
        "objects": document.objects,
    }


def folder(path: bytes) -> Item:
    return Item(Entry(path, FOLDER, 0o700, os.geteuid(), os.getegid()))


def file(path: bytes, size: int = -1) -> Entry:
    return Entry(path, FILE, 0o600, os.geteuid(), os.getegid(), size=size)


def in_memory(path: bytes, content: bytes) -> Item:
    entry = file(path, len(content))
    opened: Callable[[], Stream] = partial(InMemory, content, entry)
    return Item(entry, opened, want_digest=True)

"""A snapshot's items as databases and tables: what of them was chosen to be put back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tasks.errors import Damaged, NotFound, SettingsError
from tasks.item import Stored, StoredItems, Stream
from tasks.sources.path_text import path_text
from tasks.sources.postgresql import names
from tasks.sources.postgresql.catalogue import Table
from tasks.sources.postgresql.document import Document

_PIECE = 1 << 20


@dataclass(slots=True)
class DatabaseItems:
    """What is there of one database, and the paths that were chosen of it."""

    document: Document
    items: dict[bytes, Stored] = field(default_factory=dict)
    chosen: set[bytes] = field(default_factory=set)

    @property
    def name(self) -> str:
        return self.document.database.name

    @property
    def schema(self) -> Stored:
        return self._needed(names.SCHEMA)

    @property
    def large_objects(self) -> Stored | None:
        path = names.database_path(self.name, names.LARGE_OBJECTS)
        return self.items.get(path) if path in self.chosen else None

    @property
    def rows_only(self) -> bool:
        """Whether rows of tables were chosen, and the schema that they belong to was not."""
        return names.database_path(self.name, names.SCHEMA) not in self.chosen

    def tables(self) -> list[tuple[Table, Stored]]:
        """The tables whose rows were chosen, and are there."""
        placed = ((table, names.table_path(self.name, table.schema, table.name)) for table in self.document.tables)
        return [(table, self.items[path]) for table, path in placed if path in self.chosen]

    def choose_table(self, wanted: str) -> None:
        """Only this one, `name` or `schema.name`, and its partitions. Raises `NotFound`, `SettingsError`."""
        tables = self.document.tables
        named = {(each.schema, each.name) for each in tables}
        named |= {parent for each in tables for parent in each.parents}
        found = [pair for pair in sorted(named) if wanted in (pair[1], ".".join(pair))]
        if not found:
            near = ", ".join(f"`{schema}.{name}`" for schema, name in sorted(named)[:10])
            raise NotFound(f"the snapshot of database `{self.name}` has no table `{wanted}`; it has {near or 'none'}")
        if len(found) > 1:
            ways = " or ".join(f"`{schema}.{name}`" for schema, name in found)
            raise SettingsError(f"`{wanted}` may be {ways}: name one with its schema")
        (one,) = found
        self.chosen = {
            names.table_path(self.name, each.schema, each.name)
            for each in tables
            if one in ((each.schema, each.name), *each.parents)
        }

    def _needed(self, name: bytes) -> Stored:
        path = names.database_path(self.name, name)
        if path not in self.items:
            raise Damaged(f"the snapshot has no `{path_text(path)}`")
        return self.items[path]


def databases_in(items: StoredItems, chosen: Iterable[Stored]) -> tuple[list[DatabaseItems], Stored | None]:
    """The databases of which anything was chosen, and the roles, if they were. Raises `Damaged`."""
    paths = {item.entry.path for item in chosen}
    touched = {path.split(b"/")[1] for path in paths if path.startswith(names.DATABASES + b"/")}
    found: dict[bytes, dict[bytes, Stored]] = {folder: {} for folder in touched}
    roles = None
    for item in items:
        path = item.entry.path
        parts = path.split(b"/", 2)
        if parts[0] == names.DATABASES and len(parts) == 3 and parts[1] in found:
            found[parts[1]][path] = item
        elif path == names.ROLES and path in paths:
            roles = item
    made = []
    for folder, inside in sorted(found.items()):
        place = names.DATABASES + b"/" + folder + b"/" + names.DOCUMENT
        if place not in inside:
            raise Damaged(f"the snapshot has no `{path_text(place)}`")
        document = Document.from_bytes(read_whole(items, inside[place]))
        if names.file_name(document.database.name) != folder:
            raise Damaged(f"`{path_text(place)}` is about another database, `{document.database.name}`")
        made.append(DatabaseItems(document, inside, paths & inside.keys()))
    return made, roles


def read_whole(items: StoredItems, item: Stored) -> bytes:
    """For what is short."""
    stream: Stream = items.open(item)
    buffer, content = memoryview(bytearray(_PIECE)), bytearray()
    try:
        while count := stream.readinto(buffer):
            content += buffer[:count]
    finally:
        stream.close()
    return bytes(content)

"""A server as items: `collections/<tenant>/<database>/<collection>/` with its columns, and `server.json`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

from blake3 import blake3

from tasks.errors import Missing, SourceError
from tasks.item import FILE, FOLDER, HELD, Entry, Facts, Flaw, Item, Stored
from tasks.scratch import scratch_folder
from tasks.sources.chroma import columns
from tasks.sources.chroma.answers import answered
from tasks.sources.chroma.export import Export
from tasks.sources.chroma.server import Access, Server, ServerCollection
from tasks.sources.file_entry import OwnerNames
from tasks.sources.own_stream import CopiedFile

COLLECTIONS, SERVER = "collections", "server.json"
_LONGEST = 150
_NAMED = 5
_FORMAT = 1
_CUTS = {columns.VECTORS: "c1", **dict.fromkeys(columns.TEXTS, "c1")}


class ExportCapture:
    """A `Capture` of everything that a server gives of some tenants."""

    def __init__(self, access: Access, tenants: Sequence[str], scratch: Path) -> None:
        self._access, self._tenants, self._scratch = access, sorted(set(tenants)), scratch
        self._flaws: list[Flaw] = []
        self._facts: Facts = {}
        owners = OwnerNames()
        user, group = os.geteuid(), os.getegid()
        self._owner = (user, group, owners.user(user), owners.group(group))

    def __iter__(self) -> Iterator[Item]:
        with scratch_folder(self._scratch) as scratch, Server(self._access) as server:
            version = server.version()
            places = databases_of(server, self._tenants)
            labels: list[str] = []
            changed: dict[str, int] = {}
            records = 0
            yield self._folder(COLLECTIONS)
            for tenant in sorted(places, key=folder_name):
                yield self._folder(f"{COLLECTIONS}/{folder_name(tenant)}")
                for database in sorted(places[tenant], key=folder_name):
                    where = f"{COLLECTIONS}/{folder_name(tenant)}/{folder_name(database)}"
                    yield self._folder(where)
                    for collection in _by_folder(server, tenant, database):
                        path = f"{where}/{folder_name(collection.about.name)}"
                        try:
                            count, moved, items = self._collection(collection, path, scratch)
                        except Missing:
                            continue  # deleted meanwhile: at the end of the export it is not there
                        labels.append(collection.about.label)
                        records += count
                        changed |= {collection.about.label: moved} if moved else {}
                        yield from items
            after = _labels(server, databases_of(server, self._tenants))
            self._facts |= {
                "collections": sorted(labels),
                "records": records,
                HELD: records,
                "version": version,
                "changed_while_read": changed,
                "appeared_while_read": sorted(after - {*labels}),
                "gone_while_read": sorted({*labels} - after),
            }
            about = {"format": _FORMAT, "version": version, "databases": places, "collections": sorted(labels)}
            yield self._file(SERVER, _written(scratch / SERVER, about))

    def stored(self, item: Stored) -> None: ...

    def flaws(self) -> Iterable[Flaw]:
        return self._flaws

    def facts(self) -> Facts:
        return self._facts

    def _collection(self, collection: ServerCollection, path: str, scratch: Path) -> tuple[int, int, Iterator[Item]]:
        """How many records it has, how many changed meanwhile, and its items. Raises `Missing` if it is deleted."""
        folder = scratch / "collection"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        database = scratch / "rows.sqlite3"
        database.unlink(missing_ok=True)
        with Export(collection, database) as export:
            reading = export.read()
            latest = collection.again()
            if latest is None:
                raise Missing(f"the collection `{collection.about.label}` was deleted meanwhile")
            # One that was renamed meanwhile keeps the name it was listed under, as another may have its new one here.
            export.about = replace(latest.about, name=collection.about.name)
            counting, digests = columns.write(export, folder)
        database.unlink()
        self._facts |= counting.facts()
        label = export.about.label
        if not reading.changed:
            self._facts[f"answers {label}"] = answered(latest, counting)
        for names, what in (
            (reading.unsettled, f"records of the collection `{label}` were never the same twice in a row"),
            (reading.bare, f"records of the collection `{label}` have no vector at the server"),
        ):
            if names:
                examples = ", ".join(f"`{name}`" for name in names[:_NAMED])
                why = f"{len(names)} {what}, such as {examples}"
                self._flaws.append(Flaw(f"{path}/{columns.VECTORS}".encode(), "partial", why))
        return counting.records, reading.changed, self._items(path, folder, digests)

    def _items(self, path: str, folder: Path, digests: dict[str, bytes]) -> Iterator[Item]:
        yield self._folder(path)
        for name in columns.FILES:
            yield self._file(f"{path}/{name}", (folder / name, digests[name]), _CUTS.get(name, ""))

    def _folder(self, path: str) -> Item:
        return Item(Entry(path.encode(), FOLDER, 0o700, *self._owner))

    def _file(self, path: str, written: tuple[Path, bytes], cut: str = "") -> Item:
        file, digest = written
        # What is in it is all that tells whether it changed: it is made anew each time.
        first, second = (int.from_bytes(half, "little") >> 1 for half in (digest[:8], digest[8:]))
        entry = Entry(path.encode(), FILE, 0o600, *self._owner, size=file.stat().st_size, version=(first or 1, second))
        return Item(entry, partial(CopiedFile, file, entry), cut)


def databases_of(server: Server, tenants: Iterable[str]) -> dict[str, list[str]]:
    """The databases of each tenant. Raises `SourceError` for a tenant that is not there."""
    found = {}
    for tenant in tenants:
        try:
            found[tenant] = server.databases(tenant)
        except Missing as error:
            raise SourceError(f"{server.shown} has no tenant `{tenant}`: mend `tenants` in backup.toml") from error
    return found


def _by_folder(server: Server, tenant: str, database: str) -> list[ServerCollection]:
    try:
        return sorted(server.collections(tenant, database), key=lambda each: folder_name(each.about.name))
    except Missing:
        return []  # the database was deleted meanwhile


def _labels(server: Server, places: dict[str, list[str]]) -> set[str]:
    return {
        each.about.label
        for tenant, databases in places.items()
        for database in databases
        for each in _by_folder(server, tenant, database)
    }


def folder_name(name: str) -> str:
    """A name for a folder: safe anywhere, different for different names, and not too long."""
    safe = quote(name, safe=" ()+,=@")
    if safe.strip(".") == "":
        safe = safe.replace(".", "%2E")
    return safe if len(safe) <= _LONGEST else f"{safe[:_LONGEST]}~{blake3(name.encode()).hexdigest(8)}"


def _written(path: Path, about: object) -> tuple[Path, bytes]:
    data = json.dumps(about, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n"
    path.write_bytes(data)
    return path, blake3(data).digest(16)

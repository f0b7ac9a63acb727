"""A persist folder as items: `<name>/chroma.sqlite3`, and a folder of files for each vector segment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tasks.errors import SourceError, Unavailable
from tasks.item import FILE, HELD, Entry, Facts, Flaw, Item, Stored, Stream
from tasks.scratch import scratch_folder
from tasks.sources.chroma.facts import count
from tasks.sources.chroma.free_pages import clear
from tasks.sources.chroma.left_out import Words, leave_out, something_left_out, words_of
from tasks.sources.chroma.page_gaps import clear_gaps
from tasks.sources.chroma.records import NotWhole
from tasks.sources.chroma.snapshot import Copy, look, take
from tasks.sources.chroma.stored_folder import DATABASE, StoredCollection, StoredFolder
from tasks.sources.file_entry import OwnerNames, file_entry, other_entry
from tasks.sources.hnsw import ROWS, columns
from tasks.sources.own_stream import CopiedFile

_ROWS = "/" + os.fsdecode(ROWS)
_ALL_STORED: Facts = {"stored": "as the source's `indexes` says"}
_START = 256
_NAMED = 5
_NONE = Entry(b"", FILE)


class FolderCapture:
    """A `Capture` of a folder that a live process may be writing, as it was at one moment."""

    def __init__(self, label: str, folder: Path, scratch: Path, *, leave_out: bool) -> None:
        if not os.path.isfile(folder / DATABASE):
            raise SourceError(f"there is no `{DATABASE}` in `{folder}`: name the folder that Chroma persists to")
        self._label, self._folder, self._scratch, self._leave_out = label, folder, scratch, leave_out
        self._flaws: list[Flaw] = []
        self._facts: Facts = {}
        self._last: dict[bytes, Entry] = {}
        self._last_facts: Facts = {}

    def compare(self, facts: Facts, items: Iterable[Stored]) -> None:
        if (facts.get("indexes") == _ALL_STORED) is not self._leave_out:
            self._last = {item.entry.path: item.entry for item in items if item.entry.type == FILE}
            self._last_facts = facts

    def __iter__(self) -> Iterator[Item]:
        if self._last and (same := self._as_they_were()):
            self._facts = self._last_facts
            yield from same
            return
        with scratch_folder(self._scratch) as scratch:
            copy = take(self._folder, scratch)
            flaws = {name + _ROWS: why for name, why in copy.doubtful.items()}
            try:
                self._facts, found = folder_facts(scratch)
                flaws = found | flaws
                self._facts[HELD] = self._facts["records"]
                self._facts["indexes"] = self._indexes(scratch / DATABASE)
                clear(scratch / DATABASE)
                clear_gaps(scratch / DATABASE)
            except NotWhole as error:
                flaws[DATABASE] = str(error)
            self._flaws += [Flaw(self._path(path), "partial", why) for path, why in sorted(flaws.items())]
            yield from self._items(copy)

    def stored(self, item: Stored) -> None: ...

    def flaws(self) -> Iterable[Flaw]:
        return self._flaws

    def facts(self) -> Facts:
        return self._facts

    def _indexes(self, database: Path) -> Facts:
        """What a restore makes again of the database, or why all of it is stored."""
        if not self._leave_out:
            return _ALL_STORED
        names, why = leave_out(database, Words(**self._facts["words"]) if "words" in self._facts else None)
        return {"stored": why} if why else {"made_again_by_restore": names}

    def _as_they_were(self) -> list[Item]:
        """The items as they are, where every file is the one that was taken last; otherwise none."""
        files, folders = look(self._folder)
        owners, items = OwnerNames(), list[Item]()
        items.append(Item(other_entry(self._path(""), os.stat(self._folder), owners)))
        for path in _sorted([*files, *folders]):
            if path in folders:
                items.append(Item(other_entry(self._path(path), folders[path], owners)))
                continue
            entry = file_entry(self._path(path), files[path], owners)
            last = self._last.get(entry.path, _NONE)
            if path == DATABASE:
                entry = entry._replace(size=last.size)  # of the copy
            if _stamp(entry) != _stamp(last):
                return []
            items.append(Item(entry, self._needless))
        return items if len(files) == len(self._last) else []

    def _needless(self) -> Stream:
        raise Unavailable(f"the last snapshot of `{self._folder}` is not all there any more")

    def _items(self, copy: Copy) -> Iterator[Item]:
        owners = OwnerNames()
        yield Item(other_entry(self._path(""), os.stat(self._folder), owners))
        for path in _sorted([*copy.files, *copy.folders]):
            if path in copy.folders:
                yield Item(other_entry(self._path(path), copy.folders[path], owners))
                continue
            entry = file_entry(self._path(path), copy.files[path], owners)
            if path == DATABASE:
                # A log beside it may hold more pages, and the file more than its pages.
                entry = entry._replace(size=os.path.getsize(copy.folder / path))
            if path in copy.untold:
                entry = entry._replace(version=(0, entry.version[1]))
            rows = _columns(copy.folder / path) if path.endswith(_ROWS) else ()
            # A few changed records touch pages all over the database.
            cut = "p4" if path == DATABASE else ""
            yield Item(entry, partial(CopiedFile, copy.folder / path, entry), cut, columns=rows)

    def _path(self, path: str) -> bytes:
        return os.fsencode(f"{self._label}/{path}" if path else self._label)


def _sorted(paths: Iterable[str]) -> list[str]:
    return sorted(paths, key=lambda path: path.split("/"))


def _stamp(entry: Entry) -> tuple[int, int, tuple[int, int]]:
    return entry.mtime_ns, entry.size, entry.version


def folder_facts(folder: Path) -> tuple[Facts, dict[str, str]]:
    """The facts of a folder that nobody writes, and what is wrong in it, by path. Raises `NotWhole` where its database
    can't be read."""
    facts: Facts = {}
    wrong: dict[str, str] = {}
    records = 0
    if (folder / DATABASE).is_file() and something_left_out(folder / DATABASE):
        raise NotWhole(f"what was left out of `{DATABASE}` was not made again")
    with StoredFolder(folder) as stored:
        stored.check()
        with _as_chroma_writes():
            collections = stored.collections()
        for each in collections:
            try:
                with _as_chroma_writes():
                    counting = count(each)
            except NotWhole as error:
                wrong[each.segment + _ROWS] = f"collection `{each.about.label}`: {error}"
                continue
            records += counting.records
            facts |= counting.facts() | {f"answers {each.about.label}": counting.queries}
            if flaw := _unsound(each):
                wrong[each.segment + _ROWS] = flaw
    if words := words_of(folder / DATABASE):
        facts["words"] = words._asdict()
    facts |= {"collections": [each.about.label for each in collections], "records": records}
    return facts, wrong


@contextmanager
def _as_chroma_writes() -> Iterator[None]:
    """Raises `NotWhole` for values of other kinds than Chroma's, such as one rotten bit makes of a text: SQLite's own
    check lets them pass."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise NotWhole(f"`{DATABASE}` holds what Chroma never writes: {error}") from error


def _unsound(collection: StoredCollection) -> str:
    label, missing = collection.about.label, collection.without_vector
    if missing:
        named = ", ".join(f"`{name}`" for name in missing[:_NAMED])
        return f"{len(missing)} records of the collection `{label}` have no vector in Chroma itself, such as {named}"
    if collection.without_record:
        return f"{collection.without_record} vectors of the collection `{label}` belong to no record in Chroma itself"
    return ""


def _columns(rows: Path) -> tuple[int, ...]:
    """What the repository is told of an index file, so that its vectors, which stay, are stored apart from its links,
    which don't."""
    try:
        with open(rows, "rb") as file, open(rows.with_name("header.bin"), "rb") as header:
            return columns(header.read(_START), file.read(_START), rows.stat().st_size)
    except OSError:
        return ()  # what is missing is told elsewhere

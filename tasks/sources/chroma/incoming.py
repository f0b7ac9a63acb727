"""The collections of a snapshot, whichever of the two ways it was taken, ready to be read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from tasks.errors import Damaged, NotFound
from tasks.item import FILE, Stored, StoredItems
from tasks.scratch import scratch_folder
from tasks.sources.chroma.columns import ABOUT, FILES, Columns, File, opened
from tasks.sources.chroma.left_out import make_readable, something_left_out
from tasks.sources.chroma.records import Batch, Collection, NotWhole, Records
from tasks.sources.chroma.stored_folder import DATABASE, StoredFolder
from tasks.sources.file_restore import restore_files
from tasks.sources.source import Restoring


@contextmanager
def incoming(items: StoredItems, chosen: Iterable[Stored], scratch: Path) -> Iterator[list[Records]]:
    """A folder's files are put into a scratch folder first; an export is read as it is stored. Raises `Damaged` where
    none can be read; `NotFound` where no collection is among the chosen."""
    files = {item.entry.path: item for item in chosen}
    database = next((path for path in files if path.rpartition(b"/")[2] == DATABASE.encode()), None)
    try:
        if database is not None:
            with scratch_folder(scratch) as folder:
                # Its vectors lie beside it, whether they were chosen too or not.
                beside = database.rpartition(b"/")[0] + b"/"
                whole = [item for item in items if item.entry.path.startswith(beside)]
                path = folder / os.fsdecode(database)
                damage = _put(items, whole, folder)
                if damage and not path.exists():
                    raise damage
                if something_left_out(path):
                    path.chmod(0o600)
                    make_readable(path)
                with StoredFolder(path.parent) as stored:
                    lacking = _lacking(whole, folder) if damage else set()
                    yield [
                        Lacking(each.about, str(damage))
                        if each.segment and path.parent / each.segment in lacking
                        else each
                        for each in stored.collections()
                    ]
        else:
            yield [_exported(items, files, folder) for folder in _folders(files)]
    except NotWhole as error:
        raise Damaged(f"the snapshot can't be read as a Chroma: {error}") from error


@dataclass(frozen=True, slots=True)
class Lacking:
    """`Records` of a collection of which not all can be had."""

    about: Collection
    why: str

    def batches(self) -> Iterator[Batch]:
        raise NotWhole(self.why)


def _put(items: StoredItems, chosen: list[Stored], folder: Path) -> Damaged | None:
    """What is damaged is not there afterwards, all else is."""
    try:
        restore_files(items, chosen, folder, Restoring(owners=False))
    except Damaged as error:
        return error
    return None


def _lacking(chosen: list[Stored], folder: Path) -> set[Path]:
    """The folders that lack a file."""
    paths = [folder / os.fsdecode(item.entry.path) for item in chosen if item.entry.type == FILE]
    return {path.parent for path in paths if not path.exists()}


def _exported(items: StoredItems, files: dict[bytes, Stored], folder: bytes) -> Records:
    try:
        return Columns(partial(_opened, items, files, folder))
    except Damaged as error:
        tenant, database, name = (unquote(os.fsdecode(part)) for part in folder.split(b"/")[-3:])
        return Lacking(Collection(tenant, database, name), str(error))


def _folders(files: dict[bytes, Stored]) -> list[bytes]:
    end = b"/" + ABOUT.encode()
    folders = [path.removesuffix(end) for path in files if path.endswith(end)]
    whole = [folder for folder in folders if all(folder + b"/" + name.encode() in files for name in FILES)]
    if not whole:
        raise NotFound(
            f"no whole collection is among what was chosen: choose all files of one, or the folder with `{DATABASE}`"
        )
    return whole


def _opened(items: StoredItems, files: dict[bytes, Stored], folder: bytes, name: str) -> File:
    item = files[folder + b"/" + name.encode()]
    if item.entry.type != FILE:
        raise NotWhole(f"`{name}` is no file")
    return opened(items.open(item))

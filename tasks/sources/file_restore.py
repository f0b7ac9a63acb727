"""The order in which a snapshot's files are put back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tasks.item import FIFO, FILE, FOLDER, HARDLINK, SOCKET, SYMLINK, Stored, StoredItems
from tasks.sources.folder_writer import FolderWriter
from tasks.sources.source import Restoring
from tasks.sources.target_path import InOrder


def restore_files(
    items: StoredItems,
    chosen: Iterable[Stored],
    into: Path,
    how: Restoring,
    *,
    replaced: Callable[[], None] = lambda: None,
) -> list[str]:
    """Put files back below `into`: folders and contents first, then links, so that no content can go through one; each
    folder's metadata when all in it is done. Returns what could not be given back, a line each. Raises, beside what
    `FolderWriter` does, `Refused` or `Damaged` in the end where some of it was left out. `replaced` is called once all
    contents are there.

    `chosen` is gone through again if there is much in it beside files, and held in memory only if it can't be.
    """
    if iter(chosen) is chosen:
        chosen = tuple(chosen)
    with FolderWriter(into, how) as writer:
        others = Others(chosen)
        items.extract(contents(others, writer), writer)
        replaced()
        make_links(others.again(), writer)
        finish_folders(others.again(), writer)
        writer.look_beside()
        writer.check_all()
        return writer.missed.lines()


class Others:
    """Iterates over all items, and once more over those that are no files: by heart, if they are few."""

    _MOST, _MOST_BYTES = 20_000, 8_000_000
    """Bytes of their paths: those of deep trees are long."""

    def __init__(self, chosen: Iterable[Stored]) -> None:
        self._chosen = chosen
        self._held: list[Stored] = []
        self._bytes = 0

    def __iter__(self) -> Iterator[Stored]:
        for item in self._chosen:
            if item.entry.type != FILE and not self._are_many():
                self._held.append(item)
                self._bytes += len(item.entry.path)
            yield item

    def _are_many(self) -> bool:
        return len(self._held) > self._MOST or self._bytes > self._MOST_BYTES

    def again(self) -> Iterable[Stored]:
        return self._chosen if self._are_many() else self._held


def contents(chosen: Iterable[Stored], writer: FolderWriter) -> Iterator[Stored]:
    """The files, each after the folders it is in were made."""
    order = InOrder()
    for item in chosen:
        order.check(item)
        if item.entry.type == FOLDER:
            writer.folder(item)
        elif item.entry.type == FILE:
            yield item


def make_links(chosen: Iterable[Stored], writer: FolderWriter) -> None:
    """All that is neither file nor folder."""
    for item in chosen:
        path, kind = item.entry.path, item.entry.type
        if kind == HARDLINK:
            writer.hard_link(item)
        elif kind == SYMLINK:
            writer.symbolic_link(item)
        elif kind == FIFO:
            writer.pipe(item)
        elif kind == SOCKET:
            writer.missed.add("a socket is made by the server that listens on it", path)
        elif kind not in (FILE, FOLDER):
            writer.missed.add("devices are not made", path)


def finish_folders(chosen: Iterable[Stored], writer: FolderWriter) -> None:
    """Each folder's metadata, after that of all folders in it."""
    # Without their paths, which are the beginnings of the last one's: each with its own is too much in deep trees.
    inside, last = list[tuple[Stored, int]](), b""

    def finish() -> None:
        item, end = inside.pop()
        writer.finish_folder(item._replace(entry=item.entry._replace(path=last[:end])))

    for item in chosen:
        if item.entry.type != FOLDER:
            continue
        while inside and not item.entry.path.startswith(last[: inside[-1][1]] + b"/"):
            finish()
        last = item.entry.path
        inside.append((item._replace(entry=item.entry._replace(path=b"")), len(last)))
    while inside:
        finish()

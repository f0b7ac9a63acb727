"""A restore of files that several workers share, each part of which is taken over where its worker was killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgpack

from tasks.attempts import Attempts
from tasks.chosen import Chosen
from tasks.errors import BackupError, Damaged, Unavailable
from tasks.item import FIFO, FILE, HARDLINK, SYMLINK, Stored
from tasks.lease import LeaseLost
from tasks.parts import Parts
from tasks.portions import Portions, divided
from tasks.progress import Progress
from tasks.record import Record
from tasks.repository import Repository, Snapshot
from tasks.repository.reading import Items
from tasks.sources import target_mark
from tasks.sources.file_restore import Others, contents, finish_folders, make_links
from tasks.sources.left_out import LeftOut, Paths
from tasks.sources.not_restored import Found
from tasks.sources.source import Limits
from tasks.sources.staging_writer import StagingWriter
from tasks.watched import Watched

_LINKS = "links"


class _CameTo(NamedTuple):
    """What a part of a restore came to: what could not be given back, and what was left out. MessagePack in the
    record."""

    found: Found
    left_out: Paths

    @classmethod
    def of(cls, writer: StagingWriter) -> _CameTo:
        return cls(writer.missed.found(), writer.left_out.paths())

    @classmethod
    def of_all(cls, parts: Iterable[_CameTo]) -> _CameTo:
        found, left_out = Found(), LeftOut()
        for each in parts:
            found += each.found
            left_out.add_all(each.left_out)
        return cls(found, left_out.paths())

    @classmethod
    def from_bytes(cls, data: bytes) -> _CameTo:
        found, left_out = msgpack.unpackb(data)
        return cls([(what, times, first) for what, times, first in found], left_out)


class SharedRestore:
    """Of one source from one destination, in one run. What was there before is found out once, before anything is
    written. What an attempt writes stays under names of its own until all of its portion is there, and the record says
    so; then whoever comes gives it the names that it is to have. So no attempt takes for its own what another, or
    somebody else, put there."""

    def __init__(self, record: Record, repository: Repository, destination: str, run: str) -> None:
        self._repository = repository
        self._parts = Parts(record, repository.keys, repository.source, run)
        self._what = f"restore/{destination}"

    def portions(self) -> Portions | None:
        """How it was divided; None before that, and where it is not."""
        found = Attempts(self._parts, self._what).last()
        return Portions.from_bytes(found.result) if found and found.result else None

    def divide(
        self,
        snapshot: Callable[[], Snapshot],
        into: Path,
        patterns: tuple[str, ...],
        *,
        overwrite: bool,
        limits: Limits,
    ) -> Portions | None:
        """Divide it, or say how it was divided; None where it is not. Raises `Occupied` and `UnsafePath` before
        anything is written; `Unavailable` where this host does not see the folder that it was begun in."""
        attempts = Attempts(self._parts, self._what)
        begun = attempts.begin()
        if begun.result is not None:
            portions = Portions.from_bytes(begun.result) if begun.result else None
            if portions and self.found() is None and not self.is_seen(portions):
                raise Unavailable(f"`{into}` is not the folder of this host that this restore was begun in")
            return portions
        found = snapshot()
        whole, chosen = self._all(Portions(begun.name, found.id, str(into), patterns, overwrite), found)
        for name in begun.earlier:
            target_mark.unmark(into, name)
        target_mark.mark(into, begun.name)
        try:
            portions = divided(whole, chosen, limits)
        except BaseException:
            target_mark.unmark(into, begun.name)
            raise
        try:
            attempts.end(begun, portions.to_bytes() if portions else b"")
        except LeaseLost:
            target_mark.unmark(into, begun.name)
            raise
        if not portions:
            target_mark.unmark(into, begun.name)
        return portions

    def _all(self, whole: Portions, snapshot: Snapshot) -> tuple[Portions, Iterable[Stored]]:
        """With its figures, not divided yet; and its items."""
        items = self._repository.read(snapshot)
        if whole.patterns:
            chosen = Chosen(items, whole.patterns)
            return replace(whole, items=chosen.count, size=chosen.content_bytes), chosen
        figures = snapshot.figures
        count, size = int(figures.get("items", 0)), int(figures.get("content_bytes", 0))
        return replace(whole, items=count, size=size), items

    def is_seen(self, portions: Portions) -> bool:
        """Whether this host sees the folder that it goes to."""
        return target_mark.is_marked(portions.into, portions.name)

    def put_back(
        self, portions: Portions, number: int, progress: Progress, is_wanted: Callable[[], bool] = lambda: True
    ) -> tuple[int, int]:
        """Put back the files of one portion, in the folders that they are in, unless that was done: how many items it
        has and how many bytes. Nothing of it gets its name where it is wanted no more. Raises `Occupied`, `UnsafePath`,
        `Damaged`, `Unavailable`."""
        items = self._items(portions)
        count = size = 0
        for item in portions.chosen(number, items):
            count, size = count + 1, size + item.entry.content_size

        def write(writer: StagingWriter) -> None:
            for folder in portions.above(number, items):
                writer.folder(folder)
            chosen = contents(portions.chosen(number, items), writer)
            Watched(items, size, progress).extract(chosen, writer)
            if len(portions) == 1:  # what lies beside may else be what another portion has just restored
                writer.look_beside()

        def files() -> Iterator[Stored]:
            return (item for item in portions.chosen(number, items) if item.entry.type == FILE)

        try:
            self._once(portions, str(number), write, files, is_wanted=is_wanted)
        except LeaseLost:
            self._touch_up(portions)
            raise
        if not is_wanted():
            self._touch_up(portions)
        return count, size

    def finish(self, portions: Portions) -> Found:
        """Make the links, and give the folders their metadata, once all files are there; what all portions could not
        give back. Raises `Damaged` or `Refused` where something was left out, once all else is there."""
        ended = self._ended()
        if ended is None:
            ended = self._finished(portions)
            self._parts.keep(f"{self._what}/end", bytes(msgpack.packb(ended)))
        target_mark.unmark(portions.into, portions.name)
        left_out = LeftOut()
        left_out.add_all(ended.left_out)
        left_out.check()
        return ended.found

    def _finished(self, portions: Portions) -> _CameTo:
        came_to = [self._came_to(str(number + 1)) for number in range(len(portions))]
        others = self._others(portions)

        def links() -> Iterator[Stored]:
            return (item for item in others.again() if item.entry.type in (HARDLINK, SYMLINK, FIFO))

        self._once(portions, _LINKS, lambda writer: make_links(others.again(), writer), links)
        with StagingWriter(portions.into, portions.how, portions.name, portions.there) as writer:
            finish_folders(others.again(), writer)
        return _CameTo.of_all([*came_to, self._came_to(_LINKS), _CameTo.of(writer)])

    def _others(self, portions: Portions) -> Others:
        items = self._items(portions)
        others = Others(Chosen(items, portions.patterns) if portions.patterns else items)
        for _ in others:
            pass
        return others

    def _touch_up(self, portions: Portions) -> None:
        """Folders have their times again where a worker that had been stopped for long wrote into them, and took it
        away, after the restore had ended without it."""
        if self.found() is None:
            return
        with (
            suppress(BackupError),  # such as of a folder that is gone by now
            StagingWriter(portions.into, portions.how, portions.name, portions.there) as writer,
        ):
            finish_folders(self._others(portions).again(), writer)

    def give_up(self, portions: Portions) -> None:
        """After a failure that is final."""
        target_mark.unmark(portions.into, portions.name)

    def clear(self, portions: Portions, number: int) -> None:
        """Remove what killed attempts at a portion left that nobody waits for any more."""
        last = self._attempts(str(number)).last()
        if last is not None and portions.into.is_dir():
            items = self._items(portions)
            with StagingWriter(portions.into, portions.how, last.name) as writer:
                for item in portions.chosen(number, items):
                    for name in (*last.earlier, last.name):
                        writer.discard(item.entry.path, name)

    def found(self) -> Found | None:
        """What could not be given back, once all is done."""
        ended = self._ended()
        return ended.found if ended else None

    def _ended(self) -> _CameTo | None:
        data = self._parts.read(f"{self._what}/end")
        return _CameTo.from_bytes(data) if data else None

    def _once(
        self,
        portions: Portions,
        what: str,
        write: Callable[[StagingWriter], None],
        items: Callable[[], Iterable[Stored]],
        *,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Have `write` done by one attempt, whole or not at all, and then what it wrote named, unless it was."""
        attempts = self._attempts(what)
        attempt = attempts.begin()
        result = attempt.result
        if result is None:
            with StagingWriter(portions.into, portions.how, attempt.name) as writer:
                if attempt.earlier:
                    for item in items():
                        for name in attempt.earlier:
                            writer.discard(item.entry.path, name)
                if not _written(writer, write, is_wanted):
                    return
                if not portions.overwrite:
                    os.sync()  # the record outlives this host: what it says is written must be on the disk
                result = bytes(msgpack.packb(_CameTo.of(writer)))
                try:
                    attempts.end(attempt, result)
                except LeaseLost:
                    writer.discard_all()
                    raise
        if not portions.overwrite:
            self._place(portions, attempt.name, what, items, left_out=_CameTo.from_bytes(result).left_out)

    def _attempts(self, what: str) -> Attempts:
        return Attempts(self._parts, f"{self._what}/{what}")

    def _came_to(self, what: str) -> _CameTo:
        last = self._attempts(what).last()
        if last is None or last.result is None:
            raise Damaged("what a part of this restore came to is not in the record any more: restore again")
        placed = self._parts.read(f"{self._what}/{what}/placed")
        came_to = _CameTo.from_bytes(last.result)
        return _CameTo.of_all([came_to, _CameTo.from_bytes(placed)]) if placed else came_to

    def _place(
        self, portions: Portions, attempt: str, what: str, items: Callable[[], Iterable[Stored]], *, left_out: Paths
    ) -> None:
        """Give all that an attempt wrote its names; the record says first of what can't have its own there."""
        with StagingWriter(portions.into, portions.how, attempt) as writer:
            writer.left_out.add_all(left_out)
            before = len(writer.left_out)
            try:
                for item in items():
                    writer.place(item)
            except Unavailable:
                raise  # the item list may be read further later
            except BackupError:
                with suppress(Unavailable):
                    for item in items():
                        writer.discard(item.entry.path, attempt)
                raise
            if len(writer.left_out) > before:
                self._parts.keep(f"{self._what}/{what}/placed", bytes(msgpack.packb(_CameTo.of(writer))))
                for path in writer.left_out:
                    writer.discard(path, attempt)

    def _items(self, portions: Portions) -> Items:
        return self._repository.read(self._repository.snapshot(portions.snapshot))


def _written(writer: StagingWriter, write: Callable[[StagingWriter], None], is_wanted: Callable[[], bool]) -> bool:
    """Whether it was, and is wanted still; if not, nothing is left of it."""
    try:
        write(writer)
        if is_wanted():
            return True
    except BaseException:
        writer.discard_all()
        raise
    writer.discard_all()
    return False

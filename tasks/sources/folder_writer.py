"""The safe restore of file items into one folder: nothing is written outside it, through a link, or over something."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from tasks.errors import UnsafePath
from tasks.item import InPlace, Stored
from tasks.sources.as_it_was import opened_as_it_was
from tasks.sources.further_name import FurtherName
from tasks.sources.left_journals import LeftJournals
from tasks.sources.left_out import LeftOut
from tasks.sources.metadata import Metadata
from tasks.sources.not_restored import NotRestored
from tasks.sources.open_folders import OPEN_FILE, Descriptor
from tasks.sources.path_text import path_text
from tasks.sources.source import Restoring
from tasks.sources.target_file import TargetFile, identity
from tasks.sources.target_folders import TargetFolders
from tasks.sources.target_path import translated
from tasks.sources.unfinished import Unfinished, remove, remove_empty, remove_made

_REOPEN = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_FILES = 64


class FolderWriter:
    """A `WholeSink` and `ForgivingSink` for files; folders, links and pipes have methods of their own. Use as a
    context: what is unfinished at its end is removed.

    Every name is reached from the folder `into` by descriptors, one component at a time, and no component may be a
    link, so nothing in a snapshot and nobody who changes the tree meanwhile can lead a write elsewhere. Raises
    `UnsafePath`, `Occupied` (with `how.overwrite` only where a folder is in the way), `NoSpace`, `Refused`. What only
    is not as it was, such as an owner, is in `missed`. What is damaged, and what this file system can't hold, such as a
    name that is too long for it, is in `left_out`, so that all else comes back; `check_all` tells.
    """

    def __init__(self, into: Path, how: Restoring, names: Unfinished | None = None) -> None:
        self.missed = NotRestored()
        self._overwrite = self.may_keep = how.overwrite
        self._names = names or Unfinished(overwrite=how.overwrite)
        self._metadata = Metadata(how.owners, self.missed)
        self._lock = Lock()
        self._targets: dict[bytes, TargetFile] = {}
        self._open: dict[bytes, Descriptor] = {}
        self._were_there: set[bytes] = set()
        self.left_out = LeftOut()
        self._journals = LeftJournals()
        self._began = 0
        self._folders = TargetFolders(into, self._metadata.look_at)
        self._place = self._folders.place

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.clear()
        for target in self._targets.values():
            self._remove(target)  # or not: the error that ended the restore matters more
        self._targets.clear()

    def folder(self, item: Stored) -> None:
        """Make the folder, or take the one that is there. `finish_folder` gives it its metadata."""
        path = item.entry.path
        try:
            if not self._folders.make(path, let_in=self._overwrite):
                self._were_there.add(path)
        except OSError as error:
            raise translated(error, path) from error

    def finish_folder(self, item: Stored) -> None:
        """Owner, attributes, permissions and time, once nothing more is written below. A folder that was there before
        keeps its own unless it may be overwritten."""
        path = item.entry.path
        if path in self._were_there and not self._overwrite:
            return
        try:
            self._metadata.give(self._folders.at(path).number, item.entry, was_there=path in self._were_there)
            self._folders.forget(path)
        except OSError as error:
            raise translated(error, path) from error

    def look_beside(self) -> None:
        """Once all contents are there: have `missed` what would spoil them."""
        self._journals.tell(self._folders, self._began, self.missed)

    def check_all(self) -> None:
        """Raises `Damaged` or `Refused` where something was left out."""
        self.left_out.check()

    def _leave_out(self, path: bytes, error: OSError) -> None:
        """Raises it, translated, where it is not of this item alone."""
        if not self.left_out.add(path, error):
            raise translated(error, path) from error
        self._drop(path)

    def lost(self, item: Stored, error: Exception) -> None:
        """Some of its bytes are damaged: it is left out, and what was in its place stays."""
        self.left_out.lose(item.entry.path, error)
        self._drop(item.entry.path)

    def _drop(self, path: bytes) -> None:
        with self._lock:
            self._open.pop(path, None)
            target = self._targets.pop(path, None)
        if target:
            self._remove(target)

    def _remove(self, target: TargetFile) -> None:
        with suppress(OSError):
            remove_made(self._folders.at(target.path.rpartition(b"/")[0]), target.name, target.made)

    def there(self, item: Stored) -> InPlace | None:
        """What is as the item was, but for its bytes maybe."""
        with suppress(OSError):  # whoever writes it meets that too
            return opened_as_it_was(*self._place(item.entry.path), item.entry, self._metadata)
        return None

    def kept(self, item: Stored) -> None:
        """It stays: what has it open goes on with it, and the next night does not read it again. What a restore that
        was killed had left of it goes."""
        path = item.entry.path
        with suppress(OSError):
            parent, name = self._place(path)
            remove(parent, self._names.name(path))
            self._journals.look(parent, name, path)

    def whole(self, item: Stored, data: memoryview) -> None:
        entry = item.entry
        if entry.extents is not None:
            self.write(item, 0, data)
            self.complete(item)
            return
        try:
            parent, name = self._place(entry.path)
            written_as = self._names.name_of_whole(entry.path, name)
            made: os.stat_result | None = None
            try:
                number = self._names.create(parent, written_as, name, self._metadata.first_mode(entry))
                try:
                    made = os.fstat(number)
                    if not self._began:
                        self._begin(made)
                    written = os.write(number, data)
                    while written < len(data):
                        written += os.write(number, data[written:])
                    self._metadata.give(number, entry, made)
                    if written_as != name:
                        self._names.finish(parent, written_as, name, identity(made))
                    if self._overwrite:
                        self._journals.look(parent, name, entry.path)
                finally:
                    os.close(number)
            except BaseException as error:  # of whatever kind, such as a signal: what is not whole goes
                if made or written_as != name:
                    remove_made(parent, written_as, made and identity(made))
                elif not isinstance(error, OSError):
                    remove_empty(parent, name, self._began)
                raise
        except OSError as error:
            self._leave_out(entry.path, error)

    def write(self, item: Stored, offset: int, data: memoryview) -> None:
        try:
            found = self._file(item)
            if found is None:
                return
            target, descriptor = found
            for place, part in target.places(offset, data):
                written = 0
                while written < len(part):
                    written += os.pwrite(descriptor.number, part[written:], place + written)
        except OSError as error:
            self._leave_out(item.entry.path, error)

    def complete(self, item: Stored) -> None:
        entry = item.entry
        try:
            found = self._file(item)
            if found is None:
                return
            target, descriptor = found
            self._metadata.give(descriptor.number, entry)
            with self._lock:
                self._open.pop(entry.path, None)
            parent, name = self._place(entry.path)
            self._names.finish(parent, target.name, name, target.made)
            if self._overwrite:
                self._journals.look(parent, name, entry.path)
            with self._lock:
                del self._targets[entry.path]
        except OSError as error:
            self._leave_out(entry.path, error)

    def hard_link(self, item: Stored) -> None:
        """A further name of a file that was restored before."""
        entry = item.entry
        try:
            further = FurtherName(*self._place(entry.link), entry)
            status = further.status()
            same = further.is_of(status, self._began)
        except FileNotFoundError:
            self.missed.add("it shares its content with a file that is not among what was restored", entry.path)
            return
        except OSError as error:
            raise translated(error, entry.link) from error
        if not stat.S_ISREG(status.st_mode):
            raise UnsafePath(f"`{path_text(entry.path)}` would share its content with something that is no file")
        if not same:
            self.missed.add("the file it shares its content with is another one here", entry.path)
            return

        def link(parent: int, name: bytes) -> None:
            if not further.link(parent, name):
                further.copy(parent, name, self._metadata)
                self.missed.add("it is a file of its own now, as files can't have so many names here", entry.path)

        self._make(entry.path, link, at_once=further.link)

    def symbolic_link(self, item: Stored) -> None:
        """The link as it was, wherever it points: nothing is ever written through it."""
        entry = item.entry

        def link(parent: int, name: bytes) -> None:
            os.symlink(entry.link, name, dir_fd=parent)

        if made := self._make(entry.path, link):
            self._metadata.give_link(made[0].number, made[1], entry)

    def pipe(self, item: Stored) -> None:
        entry = item.entry

        def make(parent: int, name: bytes) -> None:
            os.mkfifo(name, 0o600, dir_fd=parent)
            pipe = Descriptor(os.open(name, OPEN_FILE, dir_fd=parent))
            if not stat.S_ISFIFO(os.fstat(pipe.number).st_mode):
                raise UnsafePath(f"someone put something else in the place of `{path_text(entry.path)}`")
            self._metadata.give(pipe.number, entry)

        self._make(entry.path, make)

    def _make(
        self, path: bytes, make: Callable[[int, bytes], None], *, at_once: Callable[[int, bytes], bool] | None = None
    ) -> tuple[Descriptor, bytes] | None:
        """Make what has no bytes at `path`; `at_once`, if it can, whole or not at all. None: it is left out."""
        try:
            parent, name = self._place(path)
            if at_once and self._names.name_of_whole(path, name) == name and at_once(parent.number, name):
                return parent, name
            made_as = self._names.name(path)
            remove(parent, made_as)
            try:
                make(parent.number, made_as)
                named = self._names.finish(parent, made_as, name)
            except BaseException:
                remove(parent, made_as)
                raise
            if made_as != named:
                # Renaming one name of a file to another of its names does nothing, as POSIX has it.
                remove(parent, made_as)
        except ValueError as error:
            raise UnsafePath(f"`{path_text(path)}` holds a byte that no name can hold") from error
        except OSError as error:
            self._leave_out(path, error)
            return None
        return parent, named

    def _begin(self, made: os.stat_result) -> None:
        with self._lock:
            self._began = self._began or made.st_ctime_ns

    def _file(self, item: Stored) -> tuple[TargetFile, Descriptor] | None:
        """The file of an item: made the first time, opened again when it had to make room for others. None if it is
        left out by now."""
        path = item.entry.path
        with self._lock:
            # Who leaves it out notes that first, and then waits for the lock to remove it: so it isn't made again.
            if path in self.left_out:
                return None
            target = self._targets.get(path)
            descriptor = self._open.pop(path, None)
            if target is None:
                parent, name = self._place(path)
                target = TargetFile(item.entry, self._names.name(path))
                self._names.check_free(parent, name)
                self._targets[path] = target  # first: a signal may end this right after the file was made
                descriptor = Descriptor(self._names.create(parent, target.name, name, 0o600))
                made = os.fstat(descriptor.number)
                target.made = identity(made)
                self._began = self._began or made.st_ctime_ns
                if target.extents is not None:  # first: where a file grows, XFS makes data of the hole behind its end
                    os.ftruncate(descriptor.number, item.entry.size)
            elif descriptor is None:
                parent, _ = self._place(path)
                descriptor = Descriptor(os.open(target.name, _REOPEN, dir_fd=parent.number))
                if identity(os.fstat(descriptor.number)) != target.made:
                    raise UnsafePath(f"someone put something else in the place of `{path_text(path)}`")
            self._open[path] = descriptor
            if len(self._open) > _OPEN_FILES:
                del self._open[next(iter(self._open))]
            return target, descriptor

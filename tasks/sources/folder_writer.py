"""The safe restore of file items into one folder: nothing is written outside it, through a link, or over something."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from tasks.errors import Occupied, UnsafePath
from tasks.item import Stored
from tasks.sources.metadata import Metadata
from tasks.sources.not_restored import NotRestored
from tasks.sources.open_folders import Descriptor, OpenFolders
from tasks.sources.path_text import path_text
from tasks.sources.source import Restoring
from tasks.sources.target_file import TargetFile, identity
from tasks.sources.target_path import CREATE, OPEN_FOLDER, check_path, is_plain, translated

_REOPEN = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_PIPE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_FILES = 64


class FolderWriter:
    """A `WholeSink` for files; folders, links and pipes have methods of their own. Use as a context: what is unfinished
    at its end is removed.

    Every name is reached from the folder `into` by descriptors, one component at a time, and no component may be a
    link, so nothing in a snapshot and nobody who changes the tree meanwhile can lead a write elsewhere. Raises
    `UnsafePath`, `Occupied` (with `how.overwrite` only where a folder is in the way), `NoSpace`, `Refused`. What only
    is not as it was, such as an owner, is in `missed`.
    """

    def __init__(self, into: Path, how: Restoring) -> None:
        self.missed = NotRestored()
        self._overwrite = how.overwrite
        self._metadata = Metadata(how.owners, self.missed)
        self._lock = Lock()
        self._targets: dict[bytes, TargetFile] = {}
        self._open: dict[bytes, Descriptor] = {}
        self._were_there: set[bytes] = set()
        self._last: tuple[bytes, Descriptor] | None = None
        """The folder that was placed in last: mostly the next file goes there too."""
        try:
            into.mkdir(parents=True, exist_ok=True)
            self._folders = OpenFolders(Descriptor(os.open(into, OPEN_FOLDER)), limit=64)
        except OSError as error:
            raise translated(error, os.fsencode(into)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.clear()
        for path, target in self._targets.items():
            try:
                folder = self._folders.at(path.rpartition(b"/")[0])
                if identity(os.stat(target.name, dir_fd=folder.number, follow_symlinks=False)) == target.made:
                    os.unlink(target.name, dir_fd=folder.number)
            except OSError:
                continue  # the error that ended the restore matters more
        self._targets.clear()

    def folder(self, item: Stored) -> None:
        """Make the folder, or take the one that is there. `finish_folder` gives it its metadata."""
        path = item.entry.path
        try:
            parent, name = self._place(path)
            try:
                os.mkdir(name, 0o700, dir_fd=parent.number)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(name, dir_fd=parent.number, follow_symlinks=False).st_mode):
                    raise Occupied(
                        f"`{path_text(path)}` is to be a folder, but something else has that name; move it away"
                    ) from None
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
            self._metadata.give(self._folders.at(path).number, item.entry)
            self._folders.forget(path)
        except OSError as error:
            raise translated(error, path) from error

    def whole(self, item: Stored, data: memoryview) -> None:
        entry = item.entry
        if entry.extents is not None:
            self.write(item, 0, data)
            self.complete(item)
            return
        try:
            parent, name = self._place(entry.path)
            written_as = self._written_as(entry.path, name)
            number = os.open(written_as, CREATE, self._metadata.first_mode(entry), dir_fd=parent.number)
            try:
                made = os.fstat(number)
                try:
                    written = os.write(number, data)
                    while written < len(data):
                        written += os.write(number, data[written:])
                    self._metadata.give(number, entry, made)
                    self._name(parent, written_as, name)
                except BaseException:
                    with suppress(OSError):
                        if identity(os.stat(written_as, dir_fd=parent.number, follow_symlinks=False)) == identity(made):
                            os.unlink(written_as, dir_fd=parent.number)
                    raise
            finally:
                os.close(number)
        except OSError as error:
            raise translated(error, entry.path) from error

    def write(self, item: Stored, offset: int, data: memoryview) -> None:
        try:
            target, descriptor = self._file(item)
            for place, part in target.places(offset, data):
                written = 0
                while written < len(part):
                    written += os.pwrite(descriptor.number, part[written:], place + written)
        except OSError as error:
            raise translated(error, item.entry.path) from error

    def complete(self, item: Stored) -> None:
        entry = item.entry
        try:
            target, descriptor = self._file(item)
            if entry.extents is not None:
                os.ftruncate(descriptor.number, entry.size)
            self._metadata.give(descriptor.number, entry)
            with self._lock:
                self._open.pop(entry.path, None)
            parent, name = self._place(entry.path)
            self._name(parent, target.name, name)
            with self._lock:
                del self._targets[entry.path]
        except OSError as error:
            raise translated(error, entry.path) from error

    def hard_link(self, item: Stored) -> None:
        """A further name of a file that was restored before."""
        entry = item.entry
        try:
            folder, partner = self._place(entry.link)
            status = os.stat(partner, dir_fd=folder.number, follow_symlinks=False)
        except FileNotFoundError:
            self.missed.add("it shares its content with a file that is not among what was restored", entry.path)
            return
        except OSError as error:
            raise translated(error, entry.link) from error
        if not stat.S_ISREG(status.st_mode):
            raise UnsafePath(f"`{path_text(entry.path)}` would share its content with something that is no file")
        if (status.st_size, status.st_mtime_ns) != (entry.size, entry.mtime_ns):
            self.missed.add("the file it shares its content with is another one here", entry.path)
            return

        def link(parent: int, name: bytes) -> None:
            os.link(partner, name, src_dir_fd=folder.number, dst_dir_fd=parent, follow_symlinks=False)

        self._make(entry.path, link)

    def symbolic_link(self, item: Stored) -> None:
        """The link as it was, wherever it points: nothing is ever written through it."""
        entry = item.entry

        def link(parent: int, name: bytes) -> None:
            os.symlink(entry.link, name, dir_fd=parent)

        parent, name = self._make(entry.path, link)
        self._metadata.give_link(parent.number, name, entry)

    def pipe(self, item: Stored) -> None:
        entry = item.entry

        def make(parent: int, name: bytes) -> None:
            os.mkfifo(name, 0o600, dir_fd=parent)
            pipe = Descriptor(os.open(name, _OPEN_PIPE, dir_fd=parent))
            if not stat.S_ISFIFO(os.fstat(pipe.number).st_mode):
                raise UnsafePath(f"someone put something else in the place of `{path_text(entry.path)}`")
            self._metadata.give(pipe.number, entry)

        self._make(entry.path, make)

    def _make(self, path: bytes, make: Callable[[int, bytes], None]) -> tuple[Descriptor, bytes]:
        """Make something that has no bytes at `path`: at once, or beside what it is to replace."""
        try:
            parent, name = self._place(path)
            made_as = self._written_as(path, name)
            try:
                make(parent.number, made_as)
                named = self._name(parent, made_as, name)
            except BaseException:
                if made_as != name:
                    remove(parent, made_as)
                raise
            if made_as != named:
                # Renaming one name of a file to another of its names does nothing, as POSIX has it.
                remove(parent, made_as)
        except ValueError as error:
            raise UnsafePath(f"`{path_text(path)}` holds a byte that no name can hold") from error
        except OSError as error:
            raise translated(error, path) from error
        return parent, named

    def _written_as(self, path: bytes, name: bytes) -> bytes:
        """The name that something has in its folder until it is complete."""
        return b".geometra-restore-" + secrets.token_hex(8).encode() if self._overwrite else name

    def _name(self, parent: Descriptor, written_as: bytes, name: bytes) -> bytes:
        """Give what is complete the name that it is to have; the one that it has now."""
        if written_as != name:
            os.rename(written_as, name, src_dir_fd=parent.number, dst_dir_fd=parent.number)
        return name

    def _file(self, item: Stored) -> tuple[TargetFile, Descriptor]:
        """The file of an item: made the first time, opened again when it had to make room for others."""
        path = item.entry.path
        with self._lock:
            target = self._targets.get(path)
            descriptor = self._open.pop(path, None)
            if target is None:
                parent, name = self._place(path)
                target = TargetFile(item.entry, self._written_as(path, name))
                descriptor = Descriptor(os.open(target.name, CREATE, 0o600, dir_fd=parent.number))
                target.made = identity(os.fstat(descriptor.number))
                self._targets[path] = target
            elif descriptor is None:
                parent, _ = self._place(path)
                descriptor = Descriptor(os.open(target.name, _REOPEN, dir_fd=parent.number))
                if identity(os.fstat(descriptor.number)) != target.made:
                    raise UnsafePath(f"someone put something else in the place of `{path_text(path)}`")
            self._open[path] = descriptor
            if len(self._open) > _OPEN_FILES:
                del self._open[next(iter(self._open))]
            return target, descriptor

    def _place(self, path: bytes) -> tuple[Descriptor, bytes]:
        """The open folder that `path` is in, made if need be, and its name there."""
        folder, _, name = path.rpartition(b"/")
        last = self._last  # once: other threads place files too
        if last and last[0] == folder and is_plain(name):
            return last[1], name
        check_path(path)
        try:
            descriptor = self._folders.at(folder)
        except FileNotFoundError:
            self._make_folders(folder)
            descriptor = self._folders.at(folder)
        self._last = folder, descriptor
        return descriptor, name

    def _make_folders(self, path: bytes) -> None:
        """The folders above something chosen on its own."""
        made = b""
        for name in path.split(b"/"):
            parent = self._folders.at(made)
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=parent.number)
            made = made + b"/" + name if made else name


def remove(folder: Descriptor, name: bytes) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder.number)

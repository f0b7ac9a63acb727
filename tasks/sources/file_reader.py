"""Opening the files below one root: never through a link, never waiting, and for logs before they can be renamed."""

from __future__ import annotations

import errno
import os
import resource
import stat
import time

from tasks.item import Entry
from tasks.sources.extended_attributes import attributes_of_file
from tasks.sources.extents import SMALLEST
from tasks.sources.file_entry import OwnerNames
from tasks.sources.file_stream import FileStream, as_to_be_read_again, is_as_listed, is_young, translated
from tasks.sources.mapped_writes import LaterWrites
from tasks.sources.open_folders import OPEN_FILE, Descriptor, OpenFolders

_WITHOUT_ATIME: int = getattr(os, "O_NOATIME", 0)
_MOST_HELD = 256
_LEASED_SECONDS, _LOOK_SECONDS = 60.0, 0.01
"""How long is waited in all for files that somebody holds a lease on, as Samba does for its clients, who mostly give it
back at once: whoever opens such a file has the kernel ask for it. A thousand that are not given back must not take a
night."""


class FileReader:
    """Opens by entry. `label` is the root's name in item paths; `alone` is the name of a root that is itself a file,
    in the folder that `folders` begin at. `may_grow` and `all_holes`: see `FileStream`. `small` counts how often it was
    asked to read at once; `ahead` is what was read already, by path."""

    def __init__(
        self,
        folders: OpenFolders,
        owners: OwnerNames,
        *,
        label: bytes,
        alone: bytes = b"",
        may_grow: bool = False,
        all_holes: bool = False,
    ) -> None:
        self._folders = folders
        self._owners = owners
        self.label, self._skip = label, len(label) + 1
        self._alone = alone
        self._may_grow = may_grow
        self._all_holes = all_holes
        self._held: dict[bytes, Descriptor] = {}
        self._last: tuple[bytes, Descriptor] | None = None
        self._patience = _LEASED_SECONDS
        self._later = LaterWrites()
        self.small = 0
        self.ahead: dict[bytes, memoryview] = {}

    def open(self, entry: Entry) -> FileStream:
        """Raises `Vanished`, `Unreadable`."""
        path = entry.path
        try:
            if self._held and (held := self._held.pop(path, None)):
                number = os.dup(held.number)
            else:
                folder, _, name = path[self._skip :].rpartition(b"/")
                own = self._owners.reader in (0, entry.uid)
                number = self._opened(self._at(folder), name or self._alone, own=own)
        except OSError as error:
            raise translated(error) from error
        stream = FileStream(number, entry, self._owners, self._may_grow, all_holes=self._all_holes)
        self._later.show(number, stream.entry.version[0], stream.entry.size, time.time_ns())
        return stream

    def _opened(self, folder: Descriptor, name: bytes, *, own: bool) -> int:
        while True:
            try:
                return open_for_reading(folder, name, own=own)
            except BlockingIOError:
                if self._patience <= 0:
                    raise
            self._patience -= _LOOK_SECONDS
            time.sleep(_LOOK_SECONDS)

    def at_once(self, entry: Entry, buffer: memoryview) -> Entry | None:
        """See `Item`. What it gives was the same file, unchanged, from its listing until after it was read."""
        if entry.size >= SMALLEST or self._may_grow:
            return None
        self.small += 1
        if (read := self.ahead.pop(entry.path, None)) is not None:
            buffer[: len(read)] = read
            return entry
        folder, _, name = entry.path[self._skip :].rpartition(b"/")
        try:
            own = self._owners.reader in (0, entry.uid)
            number = open_for_reading(self._at(folder), name or self._alone, own=own)
        except OSError:
            return None
        try:
            attributes = attributes_of_file(number)
            began = time.time_ns()
            self._later.show(number, entry.version[0], entry.size, began)
            count = os.preadv(number, (buffer,), 0)
            status = os.fstat(number)
        except OSError:
            return None
        finally:
            os.close(number)
        if count != entry.size or not is_as_listed(entry, status) or not stat.S_ISREG(status.st_mode):
            return None
        if attributes:
            entry = entry._replace(xattrs=attributes)
        return as_to_be_read_again(entry) if is_young(entry, began) else entry

    def _at(self, folder: bytes) -> Descriptor:
        """The open folder, which is mostly that of the file before."""
        if self._last is None or self._last[0] != folder:
            self._last = folder, self._folders.at(folder)
        return self._last[1]

    def hold(self, folder: Descriptor, path: bytes, names: list[bytes]) -> None:
        """Open the last 256 of a folder's files now, fewer where few may be open, for when their turn comes; `path` is
        the folder's. Those of earlier folders are let go of, and will be opened by name."""
        most = _most_held()
        for name in names[-most:]:
            try:
                status = os.stat(name, dir_fd=folder.number, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    own = self._owners.reader in (0, status.st_uid)
                    self._held[path + b"/" + name] = Descriptor(open_for_reading(folder, name, own=own))
            except OSError:
                continue  # it is opened again when its turn comes, and what is wrong is told then
        while len(self._held) > most:
            del self._held[next(iter(self._held))]

    def held(self, path: bytes) -> os.stat_result | None:
        """The status of a file that is held open, whatever has its name by now."""
        held = self._held.get(path)
        return os.fstat(held.number) if held else None


def open_for_reading(folder: Descriptor, name: bytes, *, own: bool) -> int:
    """A descriptor of the file `name` in an open folder. `own`: leaving the access time alone is allowed to the file's
    owner and to root only. Raises `OSError`."""
    if own:
        try:
            return os.open(name, OPEN_FILE | _WITHOUT_ATIME, dir_fd=folder.number)
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise
    return os.open(name, OPEN_FILE, dir_fd=folder.number)


def _most_held() -> int:
    """At most a quarter of what this process may have open."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_HELD if allowed == resource.RLIM_INFINITY else max(1, min(_MOST_HELD, allowed // 4))

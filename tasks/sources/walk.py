"""The walk over folders that all kinds of files share: streaming, sorted, never through a link, never out of a root."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from tasks.errors import SourceError
from tasks.item import Flaw, Item
from tasks.listing import Listed, one_by_one
from tasks.sources.extended_attributes import attributes_of_file
from tasks.sources.extents import SMALLEST
from tasks.sources.file_entry import OwnerNames, other_entry
from tasks.sources.file_reader import FileReader, open_for_reading
from tasks.sources.folder_names import sorted_names
from tasks.sources.leaves import Leaves
from tasks.sources.manner import Manner
from tasks.sources.open_folders import Descriptor, OpenFolders
from tasks.sources.reading_ahead import reading_ahead
from tasks.sources.selection import Selection
from tasks.sources.siblings import SmallFiles
from tasks.sources.stretch import Stretch

_OPEN_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_PARENT = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_CACHE_TAG = b"CACHEDIR.TAG"
_CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"  # https://bford.info/cachedir/
_TYPE, _FOLDER, _REGULAR = 0o170000, stat.S_IFDIR, stat.S_IFREG
_TOGETHER = 128
"""So many small files are listed together at most: each is opened a moment after it was looked at, so there must not be
too many. What is large may take long to read, and what has more names decides what the next one brings: the walk goes
on only after these."""
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class Walk:
    """Items of the files and folders at `roots` (label -> path), each item's path starting with its root's label.

    Sorted by `path.split(b"/")`. Held in memory are the names of the folders from the root down to where it is, and
    the numbers of files that have further names. Iterate once; `flaws` is complete at the end. Raises `SourceError`
    where a root itself can't be read.
    """

    def __init__(
        self, roots: Mapping[bytes, bytes], selection: Selection, manner: Manner, stretch: Stretch | None = None
    ) -> None:
        """Of a `stretch` only what it holds, and the folders above its start."""
        self.selection = selection
        self.manner = manner
        self.stretch = stretch or Stretch()
        self.owners = OwnerNames()
        self.leaves = Leaves(self.owners, manner, self.stretch.links, self._status_of)
        self.flaws: list[Flaw] = []
        self._roots = roots

    def __iter__(self) -> Iterator[Item]:
        return one_by_one(self.listed())

    def listed(self) -> Iterator[Listed]:
        """The same items, many of them together."""
        for label, named in sorted(self._roots.items()):
            if not self.stretch.reaches(label):
                continue
            try:
                # A root is what the operator named, so it alone may be a link.
                path = os.path.realpath(named)
                status = os.lstat(path)
                if stat.S_ISDIR(status.st_mode):
                    top, alone = Descriptor(os.open(path, _OPEN_ROOT)), b""
                else:
                    parent, alone = os.path.split(path)
                    top = Descriptor(os.open(parent, _OPEN_PARENT))
            except OSError as error:
                raise SourceError(
                    f"`{os.fsdecode(named)}` can't be read: {error.strerror}; mend that, or take it out of `paths`"
                ) from error
            folders = OpenFolders(top)
            reader = FileReader(
                folders,
                self.owners,
                label=label,
                alone=alone,
                may_grow=self.manner.rotating,
                all_holes=self.manner.all_holes,
            )
            if not alone:
                listed = _Tree(self, folders, reader).listed(label, status)
                # What is counted must be counted when it is its turn.
                yield from listed if self.selection.counts else reading_ahead(listed, reader, top)
            elif not self.selection.leaves_out(alone, label):
                try:
                    yield self.leaves.item(reader, top, label, status)
                except OSError as error:
                    self.flaw(label, error)

    def _status_of(self, path: bytes) -> os.stat_result:
        """Of a file by its path in the source. Raises `OSError`."""
        label, _, below = path.partition(b"/")
        root = os.path.realpath(self._roots[label])
        return os.lstat(os.path.join(root, below) if below else root)

    def flaw(self, path: bytes, error: OSError) -> None:
        what = "vanished" if error.errno in _GONE else "unreadable"
        self.flaws.append(Flaw(path, what, error.strerror or str(error)))


@dataclass(slots=True)
class _Folder:
    """A folder that the walk is in. Its path is the first `end` bytes of the path of the innermost one: each with its
    own would be a gigabyte in a tree of five thousand levels. `item` waits there until something in the folder is
    taken; `taken` says that `include` asked for all of it."""

    end: int
    taken: bool
    item: Item | None = None
    names: Iterator[bytes] = field(default_factory=lambda: iter(()))


class _Tree:
    """What one root holds."""

    def __init__(self, walk: Walk, folders: OpenFolders, reader: FileReader) -> None:
        self._walk = walk
        self._folders = folders
        self._reader = reader
        self._device: int | None = None
        self._all = walk.stretch.is_all
        self._stack: list[_Folder] = []
        self._path, self._skip = b"", 0
        """Of the innermost folder, and what of it leads to the root."""
        self._paths: list[bytes] = []
        self._statuses: list[os.stat_result] = []

    def listed(self, label: bytes, status: os.stat_result) -> Iterator[Listed]:
        selection, leaf, reader = self._walk.selection, self._walk.leaves.item, self._reader
        judged, rotating, stat_of = not selection.everything, self._walk.manner.rotating, os.stat
        # What is held open, or counted, must be looked at when it is its turn.
        together, paths, statuses = not (rotating or selection.counts), self._paths, self._statuses
        if self._walk.manner.one_file_system:
            self._device = status.st_dev
        self._skip = len(label) + 1
        yield from self._enter(label, status, taken=selection.takes_all)
        while self._stack:
            folder = self._stack[-1]
            here = self._path = self._path[: folder.end]
            try:
                descriptor = self._folders.at(here[self._skip :])
            except OSError as error:
                self._walk.flaw(here, error)
                self._stack.pop()
                continue
            prefix, number, all_taken = here + b"/", descriptor.number, folder.taken
            for name in folder.names:
                path = prefix + name
                try:
                    held = reader.held(path) if rotating else None
                    status = held or stat_of(name, dir_fd=number, follow_symlinks=False)
                    kind = status.st_mode & _TYPE
                    is_folder = kind == _FOLDER
                    taken = all_taken
                    if judged:
                        inner = path[self._skip :]
                        if selection.leaves_out(inner, path, is_folder):
                            continue
                        taken = taken or selection.takes(inner, is_folder)
                    if not (taken or is_folder):
                        continue
                    if together and kind == _REGULAR and status.st_nlink == 1 and status.st_size < SMALLEST:
                        if not all_taken:
                            yield from self._waiting()
                        paths.append(path)
                        statuses.append(status)
                        if len(paths) == _TOGETHER:
                            yield from self._gathered(descriptor)
                        continue
                    yield from self._gathered(descriptor)
                    if is_folder:
                        yield from self._enter(path, status, taken=taken)
                        break
                    item = leaf(reader, descriptor, path, status)
                    if not all_taken:
                        yield from self._waiting()
                    yield item
                except OSError as error:
                    yield from self._gathered(descriptor)
                    if not (judged and selection.leaves_out(path[self._skip :], path)):
                        self._walk.flaw(path, error)
            else:
                yield from self._gathered(descriptor)
                self._folders.forget(here[self._skip :])
                self._stack.pop()

    def _gathered(self, folder: Descriptor) -> Iterator[SmallFiles]:
        """The small files that were come by in this folder since something else was."""
        if self._paths:
            make = partial(self._walk.leaves.item, self._reader, folder)
            yield SmallFiles(self._paths.copy(), self._statuses.copy(), make)
            self._paths.clear()
            self._statuses.clear()

    def _enter(self, path: bytes, status: os.stat_result, *, taken: bool) -> Iterator[Item]:
        """Go into a folder: its item, now or when something in it is taken, and the names it holds."""
        entry, folder = other_entry(path, status, self._walk.owners), _Folder(len(path), taken)
        try:
            descriptor = self._folders.at(path[self._skip :])
            try:
                if attributes := attributes_of_file(descriptor.number):
                    entry = entry._replace(xattrs=attributes)
            except OSError as error:
                self._walk.flaw(path, error)
            if self._device is None or status.st_dev == self._device:
                names = self._names(descriptor, path)
                folder.names = iter(names if self._all else self._walk.stretch.chosen(path, names))
            held = True
        except OSError as error:
            self._walk.flaw(path, error)
            held = False
        folder.item = Item(entry)
        self._stack.append(folder)
        self._path = path
        if taken:
            yield from self._waiting()
        if not held:  # nor would it be the next time, for a second flaw
            self._folders.forget(path[self._skip :])
            self._stack.pop()

    def _waiting(self) -> Iterator[Item]:
        for folder in self._stack:
            if folder.item:
                item, folder.item = folder.item, None
                yield item

    def _names(self, folder: Descriptor, path: bytes) -> Iterable[bytes]:
        names = sorted_names(folder)
        manner = self._walk.manner
        if manner.tags or manner.exclude_caches:
            looked_for = {*manner.tags, _CACHE_TAG}
            present = {name for name in names if name in looked_for}
            tags = {tag for tag in manner.tags if tag in present}
            if manner.exclude_caches and _CACHE_TAG in present and _is_cache(folder):
                tags.add(_CACHE_TAG)
            if tags:
                return sorted(tags)
        if manner.rotating:
            names = list(names)
            for _ in range(3):
                self._reader.hold(folder, path, names)
                before, names = names, list(sorted_names(folder))
                if names == before:
                    break
        return names


def _is_cache(folder: Descriptor) -> bool:
    try:
        tag = Descriptor(open_for_reading(folder, _CACHE_TAG, own=False))
        return os.read(tag.number, len(_CACHE_SIGNATURE)) == _CACHE_SIGNATURE
    except OSError:
        return False

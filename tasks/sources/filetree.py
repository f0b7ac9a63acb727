"""What all kinds of files share: the options, and a `Source` that walks folders, restores into one and counts."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from tasks.errors import SourceError
from tasks.item import FOLDER, Entry, Facts, Flaw, Item, Stored, StoredItems, Unreadable, Vanished
from tasks.listing import Listed
from tasks.settings import SourceSettings
from tasks.sources.content_reader import ContentReader
from tasks.sources.file_check import file_problems
from tasks.sources.file_facts import FileFacts
from tasks.sources.file_restore import restore_files
from tasks.sources.manner import Manner
from tasks.sources.path_text import path_text
from tasks.sources.patterns import Patterns
from tasks.sources.roots import NamedPath, SingleName, named_roots
from tasks.sources.selection import Selection, joined_facts
from tasks.sources.source import Limits, Problem, Restoring
from tasks.sources.stretch import Stretch
from tasks.sources.walk import Walk
from tasks.values import ByteCount, Size, at_least

_ACL = b"system.posix_acl_access"


def _patterns(lines: tuple[str, ...]) -> tuple[str, ...]:
    Patterns(lines)
    return lines


PatternLines = Annotated[tuple[str, ...], AfterValidator(_patterns)]


class FileTreeSettings(SourceSettings):
    """What every kind of files has. All patterns are as in .gitignore, and relative to each of `paths`."""

    paths: tuple[Path | NamedPath, ...] = Field(min_length=1)
    """The folders and files. Each appears in the snapshot under its own name; where two have the same name, write one
    as `{ path = "/srv/b/config", name = "config-b" }`. Links inside are kept as links, never followed."""

    include: PatternLines = ()
    """Patterns of the files and folders to take, as in .gitignore, relative to each of `paths`. Empty: everything. A
    file named in `paths` is always taken."""

    exclude: PatternLines = ()
    """Such patterns of the files and folders to leave out, with all that is in them. It has precedence over
    `include`."""

    exclude_caches: bool = False
    """Leave out what is in folders that hold a CACHEDIR.TAG, as many programs mark their caches."""

    exclude_if_present: tuple[SingleName, ...] = ()
    """Leave out what is in a folder that holds a file of one of these names, such as ".nobackup"."""

    one_file_system: bool = False
    """Leave out what other file systems mounted below the paths hold."""

    mounted: tuple[Path, ...] = ()
    """Mount points, such as `/srv/data`, that the paths lie on. While nothing is mounted at one of them a backup fails,
    where it would take the empty folder below the disk for all there is."""

    part_size: Annotated[Size, at_least("1MB")] = ByteCount(8_000_000_000)
    """A source with more than this to read is divided by path into parts of about this size, which are captured by
    whichever workers of its pool are free, on any host; they make one snapshot. A file of one and a half parts or more
    is captured in pieces, and read once more for its digest."""

    part_files: int = Field(default=2_000_000, ge=1, strict=True)
    """Likewise for so many files to read."""

    most_parts: int = Field(default=16, ge=1, le=256, strict=True)
    """At most so many parts, those not counted that read a file for its digest; with 1 it is never divided."""


class FileTree:
    """A `Source` of files: the kinds below it say what is special about them."""

    kind: ClassVar[str]
    Settings: ClassVar[type[SourceSettings]] = FileTreeSettings

    def __init__(self, name: str, settings: FileTreeSettings) -> None:
        self.name = name
        self.settings = settings

    def roots(self) -> dict[str, str]:
        """Each name at the top of a snapshot, and the absolute path it is taken from. Raises `SourceError` where two
        paths would have one name."""
        return named_roots(self.settings.paths)

    def selection(self) -> Selection:
        return Selection(self.settings.include, self.settings.exclude)

    def manner(self) -> Manner:
        settings = self.settings
        tags = tuple(os.fsencode(name) for name in settings.exclude_if_present)
        return Manner(one_file_system=settings.one_file_system, exclude_caches=settings.exclude_caches, tags=tags)

    def counting(self) -> FileFacts:
        return FileFacts()

    def walk(self, selection: Selection, stretch: Stretch | None = None) -> Walk:
        roots = {os.fsencode(name): os.fsencode(path) for name, path in self.roots().items()}
        for point in self.settings.mounted:
            if not os.path.ismount(point):
                raise SourceError(f"nothing is mounted at `{point}`: mount its disk, or take it out of `mounted`")
        for path in roots.values():
            if not os.path.exists(path):
                raise SourceError(f"`{os.fsdecode(path)}` is not there; make it, or take it out of `paths`")
        return Walk(roots, selection, self.manner(), stretch)

    def check(self) -> list[Problem]:
        try:
            return file_problems(self.walk(self.selection()), self.walk(Selection()), self.settings)
        except SourceError as error:
            return [Problem(str(error), "mend `paths` in backup.toml")]

    def capture(self) -> FileCapture:
        selection = self.selection()
        return FileCapture(self.walk(selection), selection, self.counting())

    def limits(self) -> Limits:
        return Limits(self.settings.part_size, self.settings.part_files, self.settings.most_parts)

    def may_begin_at(self, item: Item) -> bool:
        """Files of one folder that rotate while they are read are held open together."""
        return not self.manner().rotating or item.entry.type == FOLDER

    def capture_stretch(self, stretch: Stretch) -> FileCapture:
        selection = self.selection()
        return FileCapture(self.walk(selection, stretch), selection, None)

    def joined(self, facts: Iterable[Facts]) -> JoinedFiles:
        return JoinedFiles(self.counting(), facts)

    def restore(self, items: StoredItems, chosen: Iterable[Stored], into: Path, how: Restoring) -> list[str]:
        return restore_files(items, chosen, into, how)

    def examine(self, scratch: Path) -> Facts:
        facts = self.counting()
        for entry in examined(scratch):
            facts.add(entry)
        return facts.facts()


class FileCapture:
    """A `Capture` of files."""

    def __init__(self, walk: Walk, selection: Selection, facts: FileFacts | None) -> None:
        """Without `facts`, only what was left out is counted."""
        self._walk = walk
        self._selection = selection
        self._facts = facts

    def __iter__(self) -> Iterator[Item]:
        return iter(self._walk)

    def listed(self) -> Iterator[Listed]:
        return self._walk.listed()

    def stored(self, item: Stored) -> None:
        if self._facts is not None:
            self._facts.add(item.entry)

    def flaws(self) -> Iterable[Flaw]:
        return self._walk.flaws

    def facts(self) -> Facts:
        """Those that `examine` gives too, and of secrets that were left out how many and which."""
        return (self._facts.facts() if self._facts else {}) | self._selection.facts()


class JoinedFiles:
    """The facts of a source whose parts were captured apart."""

    def __init__(self, counting: FileFacts, parts: Iterable[Facts]) -> None:
        self._counting = counting
        self._left_out = joined_facts(parts)

    def stored(self, item: Stored) -> None:
        self._counting.add(item.entry)

    def facts(self) -> Facts:
        return self._counting.facts() | self._left_out


def examined(folder: Path) -> Iterator[Entry]:
    """What a restored folder holds, as a capture would store it, with the digests of all contents. Raises
    `SourceError` where it can't all be read."""
    base, reader = os.fsencode(folder), ContentReader()
    try:
        roots = {name: os.path.join(base, name) for name in os.listdir(base)}
        walk = Walk(roots, Selection(), Manner(all_holes=True))
        for item in walk:
            yield _looked_at(item, base, reader)
    except (OSError, Unreadable, Vanished) as error:
        raise SourceError(f"the restored copy in `{folder}` can't be read: {error}") from error
    for flaw in walk.flaws:
        raise SourceError(f"the restored copy in `{folder}` can't be read: `{path_text(flaw.path)}`: {flaw.why}")


def _looked_at(item: Item, base: bytes, reader: ContentReader) -> Entry:
    mode = item.entry.mode
    if not item.open or mode & stat.S_IRUSR or os.geteuid() == 0:
        return reader.read(item)
    path = os.path.join(base, item.entry.path)
    # Its owner may not read it, as whoever looks at what root captured: for a moment it may, which its ACL tells too.
    os.chmod(path, mode | stat.S_IRUSR)
    found = reader.read(item)
    os.chmod(path, mode)
    attributes = tuple((name, os.getxattr(path, name) if name == _ACL else value) for name, value in found.xattrs)
    return found._replace(mode=mode, xattrs=attributes)

"""The last snapshot's items, walked along with the new ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from tasks.item import Entry, Item, Stored
from tasks.listing import Stamp
from tasks.repository.known import Known
from tasks.repository.pack import NAME
from tasks.repository.records import Group

_STAMP = slice(Entry._fields.index("mtime_ns"), Entry._fields.index("version") + 1)
"""Of an entry: time, size and version. Compared at once, as this is done for every file of every night."""

_TOGETHER = 128
"""Items whose chunks are looked up at once: one by one costs several times as much."""


class Previous:
    """Ask for paths in their order. Of what was found last: `group` and `at` say where it lies, and `there` whether all
    its chunks are known; None where it has too many of them to have been looked up. Where all are `sure` to be there,
    none is looked up."""

    def __init__(self, groups: Iterable[Group], known: Known | None = None, *, sure: bool = False) -> None:
        self._groups, self._known, self._sure = iter(groups), known, sure
        self._ahead: deque[tuple[Group, list[bool | None]]] = deque()
        self._marks: list[bool | None] = []
        self._next = 0
        self._ended = False
        self.group = Group(b"", 0, [])
        self.at = 0

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left to be found."""
        return self._ended

    @property
    def there(self) -> bool | None:
        return self._sure or self._marks[self.at]

    def find(self, path: bytes) -> Stored | None:
        while True:
            items, at = self.group.items, self._next
            while at < len(items):
                item = items[at]
                listed = item.entry.path
                if listed == path:
                    self.at, self._next = at, at + 1
                    return item
                if listed.replace(b"/", b"\0") > path.replace(b"/", b"\0"):
                    self._next = at
                    return None
                at += 1
            self._next = at
            if not self._advance():
                return None

    def alike(self, paths: Sequence[bytes], stamps: Sequence[Stamp]) -> Sequence[Stored]:
        """The items that come next, as long as they are files of these paths and stamps, one after the other, to be
        taken over as they were. They lie in one group; `at` says where the first does. None of them is one that
        `is_same` would refuse; what has no digest is left to it: it may be no file, or want one."""
        if self._next == len(self.group.items) and not self._advance():
            return ()
        start, items = self._next, self.group.items
        count = 0
        for (entry, _, _, _), path, stamp in zip(items[start:] if start else items, paths, stamps, strict=False):
            if entry.path != path or not entry.digest:
                break
            if (entry.mtime_ns, entry.size, entry.version) != stamp or not stamp[2][0]:
                break
            count += 1
        if not self._sure:
            marks = self._marks[start : start + count]
            count = next((at for at, known in enumerate(marks) if not known), count)
        self.at, self._next = start, start + count
        return items[start : start + count] if count < len(items) else items

    def _advance(self) -> bool:
        """To the next group; False at the end."""
        if self._ended or (not self._ahead and not self._read()):
            self._ended = True
            return False
        self.group, self._marks = self._ahead.popleft()
        self._next = 0
        return True

    def _read(self) -> bool:
        """Some more groups; False at the end."""
        groups, count = list[Group](), 0
        for group in self._groups:
            groups.append(group)
            count += len(group.items)
            if count >= _TOGETHER:
                break
        if self._sure:
            self._ahead.extend((group, []) for group in groups)
            return bool(groups)
        found = self._look_up(groups)
        for group in groups:
            self._ahead.append((group, [_mark(item, found) for item in group.items]))
        return bool(groups)

    def _look_up(self, groups: list[Group]) -> Iterator[bool]:
        """Of each item that is one chunk, whether it is known."""
        names = [item.content for group in groups for item in group.items if _is_chunk(item)]
        if self._known is None or not names:
            return iter([False] * len(names))
        return iter(self._known.has(b"".join(names)).tolist())


def _is_chunk(item: Stored) -> bool:
    return len(item.content) == NAME and not item.level


def _mark(item: Stored, found: Iterator[bool]) -> bool | None:
    if _is_chunk(item):
        return next(found)
    return None if item.content else True


def is_same(item: Item, old: Stored) -> bool:
    """Whether an item that was stored before is to be taken over as it was, without reading it."""
    new, was = item.entry, old.entry
    if new[_STAMP] != was[_STAMP] and not (new.size == -1 and new._replace(size=was.size)[_STAMP] == was[_STAMP]):
        return False
    return bool(new.version[0] and (was.digest or not item.want_digest) and new.type == was.type)

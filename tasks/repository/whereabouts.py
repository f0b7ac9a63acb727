"""In which groups of an item list a path lies: by bisection, for the groups are sorted by the paths they begin with."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator

from tasks.errors import Damaged
from tasks.item import order
from tasks.repository.pack import NAME

_MOST = 64
"""Paths that are looked for one by one, each of which costs some blocks of the list. More, such as the partners of many
hard links, mostly lie together: all from the first to the last is read."""


class Whereabouts:
    """Of one list: `names` of all its groups, joined. `first_path` reads of a group the path it begins with; what it
    said is remembered, so that paths that lie together are found by the same groups. One that is damaged counts as what
    goes on with the group before it: only who looks for what may be in these two meets it."""

    def __init__(self, names: bytes, first_path: Callable[[bytes], bytes]) -> None:
        self._names, self._first_path = names, first_path
        self._numbers = range(len(names) // NAME)
        self._known: dict[int, bytes | None] = {}

    def since(self, path: bytes) -> bytes:
        """The names of all groups from that on in which `path` would be."""
        return self._names[self._group_of(path) * NAME :]

    def below(self, paths: Collection[bytes]) -> Iterator[bytes]:
        """The names of the groups in which one of these paths, or what is below it, would be: each once, in order,
        those that follow each other joined."""
        reached = 0
        for first, last in _stretches(paths):
            start = max(self._group_of(first), reached)
            # Behind all that is below a path, and before all else, for `/` sorts before any other byte.
            reached = max(start, bisect_left(self._numbers, order(last) + b"\1", key=self._begins_with))
            if start < reached:
                yield self._names[start * NAME : reached * NAME]

    def _group_of(self, path: bytes) -> int:
        number = bisect_right(self._numbers, order(path), key=self._begins_with) - 1
        while number > 0 and self._first(number) is None:
            number -= 1
        return max(number, 0)

    def _begins_with(self, number: int) -> bytes:
        for before in range(number, -1, -1):
            if (first := self._first(before)) is not None:
                return first
        return b""

    def _first(self, number: int) -> bytes | None:
        """None: it is damaged."""
        if number not in self._known:
            name = self._names[number * NAME : (number + 1) * NAME]
            try:
                self._known[number] = order(self._first_path(name))
            except Damaged:
                self._known[number] = None
        return self._known[number]


def _stretches(paths: Collection[bytes]) -> list[tuple[bytes, bytes]]:
    """From one path to another, in order."""
    tops = list[bytes]()
    for path in sorted(paths, key=order):
        if not tops or not (path == tops[-1] or path.startswith(tops[-1] + b"/")):
            tops.append(path)
    return [(tops[0], tops[-1])] if len(tops) > _MOST else [(path, path) for path in tops]

"""How a source lists its items: one by one or, where it can, many small files at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from tasks.item import Item

Stamp = tuple[int, int, tuple[int, int]]
"""Of an entry `mtime_ns`, `size` and `version`: a file of which they are equal is not read again."""


class Siblings(Protocol):
    """Files that one folder holds one after the other: where hardly anything changes, most of them need never become an
    `Item`. Each has `open`."""

    @property
    def paths(self) -> Sequence[bytes]: ...

    @property
    def size(self) -> int:
        """Of all of them, in bytes."""
        ...

    def stamps(self) -> Sequence[Stamp]: ...

    def item(self, at: int) -> Item: ...

    def after(self, count: int) -> Siblings:
        """All but so many of the first, which were taken one by one."""
        ...


Listed = Item | Siblings


@runtime_checkable
class Listing(Protocol):
    """What can be iterated for its items, and lists the same ones faster."""

    def listed(self) -> Iterator[Listed]: ...


def listed(items: Iterable[Item]) -> Iterator[Listed]:
    """The fastest way through them."""
    return items.listed() if isinstance(items, Listing) else iter(items)


def one_by_one(every: Iterable[Listed]) -> Iterator[Item]:
    for some in every:
        if isinstance(some, Item):
            yield some
        else:
            yield from map(some.item, range(len(some.paths)))

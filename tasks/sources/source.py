"""The protocol every kind of source keeps. A new kind is one file here and one line in `kinds.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from tasks.item import Facts, Flaw, Item, Stored, StoredItems
from tasks.settings import SourceSettings, TargetSettings
from tasks.sources.stretch import Stretch


class Problem(NamedTuple):
    """Something that would fail, or weaken, tonight's backup; `advice` says what to do about it."""

    what: str
    advice: str
    fatal: bool = True


class Capture(Protocol):
    """One pass over a source. Iterate it once; then ask for the facts."""

    def __iter__(self) -> Iterator[Item]:
        """Items sorted by `path.split(b"/")`. Raises `SourceError`, `Unavailable`."""
        ...

    def stored(self, item: Stored) -> None:
        """The repository tells of every item it has kept, read or unchanged, in the same order."""
        ...

    def flaws(self) -> Iterable[Flaw]:
        """What the pass itself could not list. Complete once the iteration has ended."""
        ...

    def facts(self) -> Facts:
        """What was counted; complete once the iteration has ended and everything was `stored`."""
        ...


@runtime_checkable
class Rooted(Protocol):
    """A source whose items come from places on this host."""

    def roots(self) -> dict[str, str]:
        """Each name at the top of a snapshot, and the absolute path that it is taken from."""
        ...


@runtime_checkable
class Measured(Protocol):
    """A source that can say beforehand how much a first capture reads."""

    def measure(self) -> int:
        """In bytes, about. Raises `Unavailable`, `Refused`, `SourceError`."""
        ...


class Limits(NamedTuple):
    """How much of a source one capture should have to read, in bytes and in files, and how many may share it."""

    size: int
    files: int
    parts: int


class Joined(Protocol):
    """What is counted when the parts of a source are put together."""

    def stored(self, item: Stored) -> None:
        """Hears of every item, in order."""
        ...

    def facts(self) -> Facts: ...


@runtime_checkable
class Divisible(Protocol):
    """A source that several captures may share, each taking a stretch of its paths; and several restores into a folder,
    where `Source.restore` is no more than `restore_files`."""

    def limits(self) -> Limits: ...

    def capture(self) -> Capture: ...

    def may_begin_at(self, item: Item) -> bool:
        """Whether a stretch may begin at this item."""
        ...

    def capture_stretch(self, stretch: Stretch) -> Capture:
        """As `capture`, of a stretch alone; folders above its start may come too. Its facts are what `joined` needs."""
        ...

    def joined(self, facts: Iterable[Facts]) -> Joined:
        """To count what the captures of all stretches have stored; `facts` are theirs."""
        ...


class Restoring(NamedTuple):
    """How to restore: whether existing files may be replaced, and to whom the files shall belong."""

    overwrite: bool = False
    owners: bool = True
    """Give files their owners again; needs root, silently kept as the restoring user otherwise."""
    again: bool = False
    """The same restore has begun before: what it has left, and what is known to be only that, may be replaced too."""
    run: str = ""
    """The id of this restore, for it to know later what it has left."""


class Source(Protocol):
    """A configured thing to back up. Constructed with its name and validated settings; holds no connection until it
    is used, and no secret outside its settings."""

    kind: ClassVar[str]
    Settings: ClassVar[type[SourceSettings]]

    def check(self) -> list[Problem]:
        """Everything that would go wrong tonight, found without changing anything."""
        ...

    def capture(self) -> Capture:
        """Start a pass. Raises `SourceError` where nothing can be captured at all."""
        ...

    def restore(self, items: StoredItems, chosen: Iterable[Stored], into: Path, how: Restoring) -> list[str]:
        """Put the chosen items back. Never writes outside `into`. Returns what could not be given back although the
        item is there, such as an owner, a line each. Raises `Occupied`, `UnsafePath`, `Damaged`."""
        ...

    def examine(self, scratch: Path) -> Facts:
        """The facts of a restored copy, counted the way `capture` counts, to be compared with the snapshot's."""
        ...


@runtime_checkable
class Continued(Protocol):
    """A source of which a restore leaves something, in the server or the folder that it goes to, by which the same run
    knows what it has written, also once all is: it may be killed before anybody has noted that."""

    def forget_run(self, target: Any, how: Restoring) -> None:
        """Remove that: what the run came to is noted, and nobody goes on with it. Raises `Unavailable`."""
        ...


class Rehearsal(NamedTuple):
    """What a drill saw: `looks` are the facts of what came back, once for each way of looking at it; `missed` is what
    could not be given back, or not be looked at, a line each."""

    looks: tuple[Facts, ...]
    missed: list[str]


@runtime_checkable
class Served(Protocol):
    """A source whose data lives in a server. `Source.restore` puts its items into a folder, as files that the server's
    own tools can read; `restore_into` puts them into a running server."""

    Target: ClassVar[type[TargetSettings]]

    def restore_into(self, items: StoredItems, chosen: Iterable[Stored], target: Any, how: Restoring) -> list[str]:
        """Put the chosen items into the server that `target`, a `Target`, names. Returns what could not be given back,
        a line each. Raises `Occupied` where it has data already and `how` does not say to overwrite, `Refused`,
        `Unavailable`, `Damaged`."""
        ...

    def examine_at(self, target: Any) -> Facts:
        """The facts of what that server holds, counted the way `capture` counts."""
        ...


@runtime_checkable
class Rehearsable(Protocol):
    """A source that a drill puts back into a real server, or otherwise than into a folder to `examine` it there, as it
    does with all others."""

    def rehearse(self, items: StoredItems, captured: Facts, scratch: Path) -> Rehearsal:
        """Put everything back below `scratch`, or into a server that is started for it on this host, with its files
        there; look at it, and end the server. `captured` are the snapshot's facts. Raises `SettingsError` where the
        program is not here, `Refused` where the server does not take it, `Damaged`, `Unavailable`."""
        ...

    def rehearsing(self) -> None:
        """Raises `SettingsError` where this host lacks a program that `rehearse` needs."""
        ...

"""Which of a source's destinations to look at: the first that holds the newest snapshot, or the one that was named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic

from tasks.errors import BackupError
from tasks.installation import Installation
from workers.cli import screen

_SECONDS = 5.0
"""For how long the others may think of it once one has answered."""


def place_of_newest(installation: Installation, source: str, until: datetime, *, reader: bool) -> str | None:
    """One that lacks nights, as its disk was away, must not pass for the newest because it comes first. What was taken
    after `until` does not count. None where no destination answers, or holds any."""
    latest = f"{until.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    return _place(installation, source, lambda name: name[:16] <= latest, reader=reader)


def place_of(installation: Installation, source: str, wanted: str, *, reader: bool) -> str | None:
    """The first that holds a snapshot whose id begins like that: a new one that comes first lacks what is older. None
    where no destination that answers does."""
    return _place(installation, source, lambda name: name.startswith(wanted), reader=reader)


def _place(installation: Installation, source: str, is_meant: Callable[[str], bool], *, reader: bool) -> str | None:
    names = installation.destinations_of(source)
    if len(names) < 2:
        return None
    answers = SimpleQueue[tuple[str, str]]()

    def ask(name: str) -> None:
        newest = ""
        try:
            ids = installation.repository(source, name, reader=reader).snapshot_ids()
            newest = max(filter(is_meant, ids), default="")
        except BackupError:
            pass  # whoever restores from there is told
        finally:
            answers.put((name, newest))

    for name in names:
        # One that does not answer for minutes must keep nobody from ending.
        Thread(target=ask, args=(name,), daemon=True, name=f"asking {name}").start()
    newest: dict[str, str] = {}
    deadline: float | None = None
    while len(newest) < len(names):
        try:
            name, found = answers.get(timeout=None if deadline is None else max(0.0, deadline - monotonic()))
        except Empty:
            break
        newest[name] = found
        if found and deadline is None:
            deadline = monotonic() + _SECONDS
    best = max(newest.values())
    if not best:
        return None
    place = next(name for name in names if newest.get(name) == best)
    for name in names:
        if name not in newest:
            _tell(f"`{name}` does not answer: whether it holds something newer than `{best}` is not known.")
        elif newest[name] and names.index(name) < names.index(place):
            _tell(f"`{name}` does not hold the newest, `{best}`: that comes from `{place}`.")
    return place


def _tell(line: str) -> None:
    screen.errors.print(line, style="yellow", markup=False, soft_wrap=True)

"""What would go wrong with a source of files tonight, found by walking it and opening what it would read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Protocol

from tasks.item import FILE, FOLDER, Flaw, Item, Unreadable, Vanished
from tasks.sources.path_text import path_text
from tasks.sources.patterns import Patterns
from tasks.sources.source import Problem
from tasks.sources.walk import Walk

_MOST_ITEMS = 50_000
_SAMPLES = 5
_OF_SERVERS = {b"chroma.sqlite3": ("Chroma", "chroma"), b"PG_VERSION": ("PostgreSQL", "postgres")}
"""Files by which the folder of a database is known: its program, and the kind that takes it while that runs."""


class PatternSettings(Protocol):
    """The options that are looked at."""

    @property
    def include(self) -> tuple[str, ...]: ...
    @property
    def exclude(self) -> tuple[str, ...]: ...
    @property
    def allow_incomplete(self) -> tuple[str, ...]: ...
    @property
    def model_fields_set(self) -> set[str]: ...


def file_problems(taken: Walk, everything: Walk, settings: PatternSettings) -> list[Problem]:
    """Problems of the files that are `taken`; `everything` is the same walk without patterns. Looks at the first
    50,000 items. Raises `SourceError` where a root can't be read."""
    return [*_unreadable(taken, Patterns(settings.allow_incomplete)), *_patterns(everything, settings)]


def _unreadable(walk: Walk, allowed: Patterns) -> Iterator[Problem]:
    files, flaws, databases = 0, list[Flaw](), dict[bytes, bytes]()
    for item in islice(walk, _MOST_ITEMS):
        folder, _, name = item.entry.path.rpartition(b"/")
        if item.entry.type == FILE and name in _OF_SERVERS:
            databases.setdefault(name, folder)
        files += item.entry.type == FILE
        flaws += _opened(item)
    for name, folder in databases.items():
        program, kind = _OF_SERVERS[name]
        yield Problem(
            f"`{path_text(folder)}` is the folder of a {program}: read while that runs, its files don't fit together",
            f"let a source of the kind `{kind}` take it, and `exclude` it here",
            fatal=False,
        )
    flaws += [flaw for flaw in walk.flaws if flaw.what == "unreadable"]
    flaws = [flaw for flaw in flaws if not allowed.match(flaw.path)]
    for flaw in flaws[:_SAMPLES]:
        shown, inner = path_text(flaw.path), path_text(flaw.path.partition(b"/")[2])
        excluded = f"add `/{inner}` to `exclude` or " if inner else "add "
        yield Problem(
            f"`{shown}` can't be read: {flaw.why}",
            f"give the workers' user the right to read it, or {excluded}`{shown}` to `allow_incomplete`",
        )
    if len(flaws) > _SAMPLES:
        yield Problem(f"{len(flaws) - _SAMPLES} more can't be read", "mend those above first, then look again")
    if not files and not flaws:
        yield Problem(
            "no file is taken, so there will be nothing to restore",
            "look at `paths`, `include` and `exclude`",
            fatal=False,
        )


def _opened(item: Item) -> list[Flaw]:
    try:
        if item.open:
            item.open()
    except Vanished:
        return []
    except Unreadable as error:
        return [Flaw(item.entry.path, "unreadable", str(error))]
    return []


def _patterns(walk: Walk, settings: PatternSettings) -> Iterator[Problem]:
    """The patterns that match nothing."""
    unused = {
        (option, line): Patterns((line.removeprefix("!"),))
        for option in ("include", "exclude")
        for line in getattr(settings, option)
        if option in settings.model_fields_set and line.strip("! ") and not line.startswith("#")
    }
    if not unused:
        return
    count = 0
    for item in islice(walk, _MOST_ITEMS):
        count += 1
        path, folder = item.entry.path.partition(b"/")[2], item.entry.type == FOLDER
        if path:
            unused = {key: patterns for key, patterns in unused.items() if not patterns.match(path, folder)}
    for option, line in unused if count < _MOST_ITEMS else ():
        yield Problem(f"the pattern `{line}` of `{option}` matches nothing", "correct it, or remove it", fatal=False)

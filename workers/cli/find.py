"""`find`: in which snapshots a path is, and how it changed from one to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import click

from tasks.errors import SettingsError
from tasks.item import FOLDER, Stored
from tasks.repository import Items, Repository
from tasks.sources.patterns import Patterns
from workers.cli import screen
from workers.cli.diff import ADDED, CHANGED, compare
from workers.cli.main import subcommand
from workers.cli.place import from_place
from workers.cli.session import Session


@subcommand("find")
@click.argument("pattern")
@click.option("-s", "--source", help="Only this source.")
@click.option("-d", "--destination", help="Only this destination.")
@click.option("--all", "every", is_flag=True, help="Every snapshot, not only those in which it changed.")
@from_place
def command(session: Session, pattern: str, source: str | None, destination: str | None, every: bool) -> int:
    """Look for a path in all snapshots: PATTERN is in gitignore style, such as `app.toml` or `logs/**/*.gz`.

    Exits with 1 where nothing is found.
    """
    try:
        patterns = Patterns((pattern,))
    except ValueError as error:
        raise SettingsError(str(error)) from error
    found = _found(session.repositories(source, destination), patterns, every=every)
    first = next(found, None)
    rows = chain([first], found) if first else found
    if session.as_json:
        screen.print_json_list(rows)
    elif not first:
        screen.console.print(f"No snapshot holds anything that matches `{pattern}`.", markup=False)
    else:
        screen.table(
            ("path", ("size", "right"), "modified", "source", "at", "snapshot"),
            (
                (
                    row["path"],
                    screen.size(row["size"]),
                    datetime.fromtimestamp(row["mtime_ns"] / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
                    row["source"],
                    row["destination"],
                    row["snapshot"],
                )
                for row in rows
            ),
        )
    return session.exit_code or (0 if first else 1)


def _found(
    repositories: Iterable[tuple[str, str, Repository]], patterns: Patterns, *, every: bool
) -> Iterator[dict[str, Any]]:
    reach = patterns.reach
    for name, place, repository in repositories:
        last: Items | None = None
        snapshots = repository.readable_snapshots()
        for snapshot, items in zip(snapshots, repository.read_each(snapshots), strict=True):
            everything = items if reach is None else items.below(reach)
            for item in everything if every or last is None else _changed(last, items):
                if patterns.match(item.entry.path, folder=item.entry.type == FOLDER):
                    yield _row(name, place, snapshot.id, item)
            last = items


def _changed(before: Items, after: Items) -> Iterator[Stored]:
    """What is new, or has other bytes."""
    return (item for change, item in compare(*before.apart(after)) if change in (ADDED, CHANGED))


def _row(source: str, destination: str, snapshot: str, item: Stored) -> dict[str, Any]:
    return {
        "path": screen.text(item.entry.path),
        "type": item.entry.type,
        "size": item.entry.size,
        "mtime_ns": item.entry.mtime_ns,
        "source": source,
        "destination": destination,
        "snapshot": snapshot,
    }

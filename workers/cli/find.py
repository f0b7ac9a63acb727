"""`find`: in which snapshots a path is, and how it changed from one to the next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from tasks.errors import SettingsError
from tasks.item import FOLDER, Stored
from tasks.sources.patterns import Patterns
from workers.cli import screen
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
    found: list[dict[str, Any]] = []
    last: dict[tuple[str, str, bytes], bytes] = {}
    for name, place, repository in session.repositories(source, destination):
        for snapshot in repository.readable_snapshots():
            for item in repository.read(snapshot):
                if not patterns.match(item.entry.path, folder=item.entry.type == FOLDER):
                    continue
                key = (name, place, item.entry.path)
                changed = last.get(key) != _content(item)
                last[key] = _content(item)
                if changed or every:
                    found.append(_row(name, place, snapshot.id, item))
    if session.as_json:
        screen.print_json(found)
    elif not found:
        screen.console.print(f"No snapshot holds anything that matches `{pattern}`.", markup=False)
    else:
        screen.table(
            ("path", ("size", "right"), "modified", "source", "at", "snapshot"),
            [
                (
                    row["path"],
                    screen.size(row["size"]),
                    datetime.fromtimestamp(row["mtime_ns"] / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
                    row["source"],
                    row["destination"],
                    row["snapshot"],
                )
                for row in found
            ],
        )
    return session.exit_code or (0 if found else 1)


def _content(item: Stored) -> bytes:
    """Equal only for equal bytes: the names of an item's chunks."""
    return item.entry.type.encode() + bytes([item.level]) + item.content + item.entry.link


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

"""`diff`: what changed from one snapshot to another."""

from __future__ import annotations

from collections.abc import Iterator

import click

from tasks.item import Entry, Stored, order
from tasks.repository import Items, Repository
from workers.cli import screen
from workers.cli.main import subcommand
from workers.cli.place import from_place
from workers.cli.session import Session, chosen

ADDED, REMOVED, CHANGED, METADATA = "+", "-", "M", "m"
_STYLE = {ADDED: "green", REMOVED: "red", CHANGED: "yellow", METADATA: "dim"}


@subcommand("diff")
@click.argument("source")
@click.argument("older")
@click.argument("newer", default="latest")
@click.option("-d", "--destination", help="Look there; default: the first of the source's that has each.")
@from_place
def command(session: Session, source: str, older: str, newer: str, destination: str | None) -> None:
    """What changed between two snapshots: `+` added, `-` removed, `M` other bytes, `m` other mode, owner or time."""
    before, after = (_items(session.holding(source, destination, name)[1], name) for name in (older, newer))
    changes = compare(*before.apart(after))
    if session.as_json:
        screen.print_json_list(
            {"change": change, "path": screen.text(item.entry.path), "size": item.entry.size}
            for change, item in changes
        )
        return
    counts = dict.fromkeys(_STYLE, 0)
    for change, item in changes:
        counts[change] += 1
        screen.line(f"{change} {screen.text(item.entry.path)}  {screen.size(item.entry.size)}", _STYLE[change])
    screen.console.print(
        f"{counts[ADDED]} added, {counts[REMOVED]} removed, {counts[CHANGED]} changed, {counts[METADATA]} only touched"
    )


def _items(repository: Repository, name: str) -> Items:
    return repository.read(chosen(repository, name))


def compare(before: Iterator[Stored], after: Iterator[Stored]) -> Iterator[tuple[str, Stored]]:
    """Walks two sorted lists together; holds neither."""
    old, new = next(before, None), next(after, None)
    while old is not None or new is not None:
        if old is not None and (new is None or _is_before(old, new)):
            yield REMOVED, old
            old = next(before, None)
        elif new is not None and (old is None or _is_before(new, old)):
            yield ADDED, new
            new = next(after, None)
        elif old is not None and new is not None:
            if (old.entry.type, old.level, old.content, old.entry.link) != (
                new.entry.type,
                new.level,
                new.content,
                new.entry.link,
            ):
                yield CHANGED, new
            elif _metadata(old) != _metadata(new):
                yield METADATA, new
            old, new = next(before, None), next(after, None)


def _metadata(item: Stored) -> Entry:
    """Neither how content is cut nor its digest, which is not known of what an earlier build stored."""
    return item.entry._replace(version=(0, 0), cut="", digest=b"")


def _is_before(item: Stored, other: Stored) -> bool:
    return order(item.entry.path) < order(other.entry.path)

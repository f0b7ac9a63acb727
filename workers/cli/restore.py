"""`restore`: a snapshot, or some of it, into a new place. Also from nothing but a destination and the passphrase."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from tasks.errors import NotFound
from tasks.installation import unconfigured
from tasks.moments import newest_at
from tasks.repository import CLOCKS_DIFFER, Repository, Snapshot, open_keys
from tasks.restore import Wanted, restore_from
from tasks.room import free_at
from tasks.sources.source import Restoring, Source
from tasks.stopwatch import Stopwatch
from tasks.target import Target, target_of
from workers.cli import screen
from workers.cli.following import watching
from workers.cli.main import exit_code, subcommand
from workers.cli.newest import place_of, place_of_newest
from workers.cli.place import from_place, read_sheet
from workers.cli.session import Session, chosen


@subcommand("restore")
@click.argument("source")
@click.argument("paths", nargs=-1)
@click.option("-s", "--snapshot", default="latest", show_default=True, help="An id, its beginning, or `latest`.")
@click.option("--at", help="The newest snapshot at that time: `2026-11-23 02:30`, `yesterday`, `3 days ago`.")
@click.option(
    "-t", "--to", help="A folder, or a server: its URL, or `env:NAME`, `file:PATH`; default: a new folder here."
)
@click.option(
    "-o", "--option", "options", multiple=True, metavar="NAME=VALUE", help="For a server, as `options` explains."
)
@click.option("-m", "--match", "patterns", multiple=True, help="Only what matches, in gitignore style.")
@click.option("-d", "--destination", help="From there; default: the first that holds the newest, or what is named.")
@click.option("--overwrite", is_flag=True, help="Replace what is in the way, unless it is as it was.")
@click.option("--no-owners", is_flag=True, help="Let everything belong to who restores.")
@from_place
def command(
    session: Session,
    source: str,
    paths: tuple[str, ...],
    snapshot: str,
    at: str | None,
    to: str | None,
    options: tuple[str, ...],
    patterns: tuple[str, ...],
    destination: str | None,
    overwrite: bool,
    no_owners: bool,
) -> int:
    """Put a snapshot of SOURCE back: all of it, or only PATHS (with all below them).

    Writes into a new folder, never outside it, and replaces nothing unless told to. Ends with 3 where all but what is
    named, such as an owner, was given back.
    """
    if at is not None and snapshot != "latest":
        raise click.UsageError("--at and --snapshot both say which snapshot: give one of them")
    watch = Stopwatch()
    now = datetime.now(UTC)
    moment = None if at is None else session.moment(at, now)
    if session.place is None and destination is None:
        reader = session.sheet is None
        opening = session.reader if reader else session.installation
        if moment is None and snapshot != "latest":
            destination = place_of(opening, source, snapshot, reader=reader)
        else:
            until = now + CLOCKS_DIFFER if moment is None else moment.last
            destination = place_of_newest(opening, source, until, reader=reader)
    repository = _open(session, source, destination)
    if moment is not None:
        found = newest_at(repository.readable_snapshots(), moment)
        if found is None:
            raise NotFound(
                f"`{source}` has no snapshot as old as `{at}` ({session.zone}): `list {source}` shows the oldest"
            )
    else:
        found = chosen(repository, snapshot)
    if to is not None and not str(to).strip():
        raise click.UsageError("--to needs the name of a folder")
    made = _source(session, found, source, configured=session.place is None)
    into = target_of(made, to or f"restored-{source}-{found.id}", _options(options))
    wanted = Wanted(into, patterns, tuple(map(os.fsencode, paths)), Restoring(overwrite, owners=not no_owners))
    if isinstance(into, Path) and not (patterns or paths or overwrite):
        warn_of_room(into, found.figures.get("content_bytes", 0))
    with watching(f"restoring {source}", session.as_json) as progress:
        figures, missed = restore_from(repository, found, made, wanted, progress=progress)
    figures |= watch.figures()
    code = exit_code("incomplete" if missed else "done")
    if session.as_json:
        screen.print_json({"snapshot": found.id, "into": _shown(into), "figures": figures, "not_restored": missed})
        return code
    screen.console.print(f"{restored(found.id, figures, some=bool(options))} to", soft_wrap=True)
    screen.console.print(_shown(into), markup=False, soft_wrap=True)
    for line in missed:
        screen.errors.print(f"Not given back: {line}", style="yellow", markup=False, soft_wrap=True)
    if not found.complete:
        screen.errors.print("This snapshot is incomplete: `show` names what it does not hold.", style="yellow")
    return code


def restored(snapshot: str, figures: Mapping[str, float], *, some: bool) -> str:
    """What was done, in words. `some`: only a server knows how much of the items its options have chosen."""
    items = f"{screen.counted(figures['items'], 'item')}, {screen.size(figures['restored_bytes'])}"
    what = f"what `-o` says of {snapshot} ({items} in all)" if some else f"{items}, of {snapshot}"
    return f"Restored {what} in {screen.duration(figures['seconds'])}"


def warn_of_room(into: Path, size: float) -> None:
    """Tell before hours of restoring that so many bytes may not fit. No more than that: a file system may compress."""
    free = free_at(into)
    if free is not None and free < size:
        screen.errors.print(
            f"This may not fit: {screen.size(size)} are put back, and only {screen.size(free)} are free for `{into}`.",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )


def _options(given: tuple[str, ...]) -> dict[str, list[str]]:
    options: dict[str, list[str]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--option takes NAME=VALUE, not `{text}`")
        options.setdefault(name.strip(), []).append(value)
    return options


def _shown(target: Target) -> str:
    """A folder's path, or an address as it was given: never the URL with a password that it refers to."""
    return str(target if isinstance(target, Path) else target.url)


def _open(session: Session, source: str, destination: str | None) -> Repository:
    if session.place is not None or session.sheet is None:
        return session.repository(source, destination, reader=True)[1]
    _, repository = session.repository(source, destination)
    keys = open_keys(Repository.key_document(repository.destination), sheet=read_sheet(session.sheet))
    return Repository.open(repository.destination, keys)


def _source(session: Session, snapshot: Snapshot, name: str, configured: bool) -> Source:
    """The source's own code puts it back; its settings matter only where they are known."""
    return session.reader.source_of(name, snapshot.kind) if configured else unconfigured(name, snapshot.kind)

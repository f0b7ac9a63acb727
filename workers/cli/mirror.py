"""`mirror`: one destination brought level with another by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from tasks.errors import BackupError, NotARepository
from tasks.mirror import mirror
from tasks.repository import Repository
from tasks.stopwatch import Stopwatch
from tasks.values import is_name
from workers.cli import screen
from workers.cli.following import watching
from workers.cli.main import exit_code, shared_code, subcommand
from workers.cli.session import Session


@subcommand("mirror")
@click.argument("origin", metavar="FROM")
@click.argument("destination", metavar="TO")
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
def command(session: Session, origin: str, destination: str, sources: tuple[str, ...]) -> int:
    """Bring the destination TO level with FROM: every snapshot of SOURCE, or of all that FROM holds; what is there is
    not sent again.

    Needs no passphrase. Exits with 3 where a snapshot could not be brought, for it is damaged at FROM.
    """
    if origin == destination:
        raise click.UsageError("FROM and TO are the same: name two destinations of backup.toml")
    results: list[dict[str, Any]] = []
    errors: list[BackupError] = []
    names = list(dict.fromkeys(sources)) or _all(session, origin)
    for name in names:
        with watching(f"mirroring {name} from {origin} to {destination}", session.as_json) as progress:
            watch = Stopwatch()
            try:
                made = mirror(session.installation, name, origin, destination, progress=progress)
                results.append(replace(made, figures=made.figures | watch.figures()).to_json())
            except BackupError as error:
                if isinstance(error, NotARepository) and not sources:
                    continue  # nothing of that source was ever brought to FROM
                errors.append(error)
                failure = {"kind": error.kind, "message": str(error)}
                results.append({"source": name, "destination": destination, "state": "failed", "failure": failure})
    if not results:
        raise NotARepository(f"`{origin}` holds nothing of {', '.join(names)}: there is nothing to bring")
    if session.as_json:
        screen.print_json(results)
    else:
        for result in results:
            _print(result, origin)
    if errors:
        return shared_code(error.exit_code for error in errors)
    return max(exit_code(result["state"]) for result in results)


def _all(session: Session, origin: str) -> list[str]:
    """Also those that were removed from backup.toml since: what they left there is history as well."""
    known = session.sources(None)
    stored = Repository.sources_at(session.installation.destination(origin))
    return [*known, *(name for name in stored if name not in known and is_name(name))]


def _print(result: dict[str, Any], origin: str) -> None:
    what = f"{result['source']} from {origin} to {result['destination']}"
    if result["state"] == "failed":
        screen.console.print(f"{what}: {result['failure']['message']}", style="red", markup=False, soft_wrap=True)
        return
    figures = result["figures"]
    screen.console.print(
        f"{what}: {screen.state(result['state']).markup}; {screen.counted(figures['snapshots'], 'snapshot')} brought,"
        f" {figures['skipped']:.0f} were there; {screen.size(figures['sent_bytes'])} sent in"
        f" {screen.duration(figures['seconds'])}"
    )
    for flaw in result["flaws"]:
        screen.console.print(f"  {flaw}", style="yellow", markup=False, soft_wrap=True)

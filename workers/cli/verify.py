"""`verify`: read back what is stored, and say exactly what is damaged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from tasks.errors import BackupError, Damaged
from tasks.stopwatch import Stopwatch
from tasks.verify import verify
from workers.cli import screen
from workers.cli.following import watching
from workers.cli.main import subcommand
from workers.cli.session import Session


@subcommand("verify")
@click.argument("source", required=False)
@click.option("-s", "--snapshot", default="", help="The snapshot to prove; default: the newest.")
@click.option("-d", "--destination", help="Only this destination.")
@click.option("--everything", is_flag=True, help="Read every stored byte, not only what that snapshot added.")
def command(session: Session, source: str | None, snapshot: str, destination: str | None, everything: bool) -> int:
    """Check SOURCE, or all, and keep the proof beside the snapshot. Exits with 65 where something is damaged."""
    results: list[dict[str, Any]] = []
    for name, place in that_may_hold(session, session.pairs(source, destination), snapshot, named=bool(destination)):
        with watching(f"verifying {name} at {place}", session.as_json) as progress:
            watch = Stopwatch()
            try:
                found = verify(session.reader, name, place, snapshot, everything=everything, progress=progress)
                results.append(replace(found, figures=found.figures | watch.figures()).to_json())
            except BackupError as error:
                failure = {"kind": error.kind, "message": str(error)}
                results.append({"source": name, "destination": place, "state": "failed", "failure": failure})
    if session.as_json:
        screen.print_json(results)
    else:
        for result in results:
            _print(result)
    return exit_code_of(results)


def exit_code_of(results: list[dict[str, Any]]) -> int:
    """Of several outcomes, as JSON: that of damage, where something is damaged."""
    failures = [result["failure"]["kind"] for result in results if result["state"] == "failed"]
    if not failures:
        return 0
    return Damaged.exit_code if Damaged.__name__ in failures else 1


def that_may_hold(
    session: Session, pairs: list[tuple[str, str]], snapshot: str, *, named: bool
) -> list[tuple[str, str]]:
    """Without the destinations that lack the snapshot, as one that was added later lacks the older ones; unless all
    do, which each then tells, or one was `named`."""

    def lacks(name: str, place: str) -> bool:
        try:
            ids = session.installation.repository(name, place).snapshot_ids()
        except BackupError:
            return False  # what is wrong there is told when it is its turn
        return not any(each.startswith(snapshot) for each in ids)

    return pairs if named else [pair for pair in pairs if not (snapshot and lacks(*pair))] or pairs


def _print(result: dict[str, Any]) -> None:
    what = f"{result['source']} at {result['destination']}"
    if result["state"] == "failed":
        screen.console.print(f"{what}: {result['failure']['message']}", style="red", markup=False, soft_wrap=True)
        return
    figures = result["figures"]
    screen.console.print(
        f"{what}: [green]good[/]; {figures['snapshots']:.0f} snapshots, {figures['packs']:.0f} packs, of which"
        f" {figures.get('read_packs', 0):.0f} read whole ({screen.size(figures.get('read_bytes', 0))})"
    )

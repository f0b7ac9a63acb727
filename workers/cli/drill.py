"""`drill`: put a snapshot back where nobody needs it, into a real server where it came from one, and compare."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from tasks.drill import drill
from tasks.errors import BackupError
from tasks.stopwatch import Stopwatch
from workers.cli import screen
from workers.cli.following import watching
from workers.cli.main import exit_code, subcommand
from workers.cli.session import Session
from workers.cli.verify import exit_code_of, that_may_hold


@subcommand("drill")
@click.argument("source", required=False)
@click.option("-s", "--snapshot", default="", help="The snapshot to put back; default: the newest.")
@click.option("-d", "--destination", help="Only this destination.")
def command(session: Session, source: str | None, snapshot: str, destination: str | None) -> int:
    """Restore SOURCE, or all, into a scratch folder or a scratch server of this host; compare it with what was
    captured, remove it, and keep the proof beside the snapshot.

    Exits with 65 where something else came back, with 3 where it is the same but for what is named.
    """
    results: list[dict[str, Any]] = []
    for name, place in that_may_hold(session, session.pairs(source, destination), snapshot, named=bool(destination)):
        with watching(f"drilling {name} at {place}", session.as_json) as progress:
            watch = Stopwatch()
            try:
                found = drill(session.reader, name, place, snapshot, progress=progress)
                results.append(replace(found, figures=found.figures | watch.figures()).to_json())
            except BackupError as error:
                failure = {"kind": error.kind, "message": str(error)}
                results.append({"source": name, "destination": place, "state": "failed", "failure": failure})
    if session.as_json:
        screen.print_json(results)
    else:
        for result in results:
            _print(result)
    partly = any(result["state"] == "incomplete" or result.get("flaws") for result in results)
    return exit_code_of(results) or exit_code("incomplete" if partly else "done")


def _print(result: dict[str, Any]) -> None:
    what = f"{result['source']} at {result['destination']}"
    if result["state"] == "failed":
        screen.console.print(f"{what}: {result['failure']['message']}", style="red", markup=False, soft_wrap=True)
        return
    figures = result["figures"]
    how = (
        "[green]the same came back[/]" if figures["compared_facts"] else "[yellow]it came back, and was not counted[/]"
    )
    screen.console.print(
        f"{what}: {how}; {figures['items']:,.0f} item{'s' * (figures['items'] != 1)},"
        f" {screen.size(figures['restored_bytes'])}, {figures['compared_facts']:.0f} facts compared in"
        f" {screen.duration(figures['seconds'])}"
    )
    for line in result["flaws"]:
        screen.errors.print(f"Not given back: {line}", style="yellow", markup=False, soft_wrap=True)

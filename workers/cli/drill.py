"""`drill`: put a snapshot back where nobody needs it, into a real server where it came from one, and compare."""

from __future__ import annotations

from typing import Any

import click

from tasks.drill import drill
from tasks.outcome import Outcome
from tasks.progress import Progress
from workers.cli import screen
from workers.cli.main import exit_code, subcommand
from workers.cli.proving import pairs_of, show, tried
from workers.cli.session import Session


@subcommand("drill")
@click.argument("source", required=False)
@click.option("-s", "--snapshot", default="", help="The snapshot to put back; default: the newest.")
@click.option("-d", "--destination", help="Only this destination.")
def command(session: Session, source: str | None, snapshot: str, destination: str | None) -> int:
    """Restore SOURCE, or all, into a scratch folder or a scratch server of this host; compare it with what was
    captured, remove it, and keep the proof beside the snapshot.

    Exits with 65 where something else came back, with 3 where it is the same but for what is named.
    """

    def work(name: str, place: str, progress: Progress) -> Outcome:
        return drill(session.reader, name, place, snapshot, progress=progress)

    results = list(tried(session, pairs_of(session, source, destination, snapshot), "drilling", work))
    code = show(session, results, _said)
    for result in results:
        for line in () if session.as_json else result.get("flaws", ()):
            text = f"Not given back of {result['source']} at {result['destination']}: {line}"
            screen.errors.print(text, style="yellow", markup=False, soft_wrap=True)
    partly = any(result["state"] == "incomplete" or result.get("flaws") for result in results)
    return code or exit_code("incomplete" if partly else "done")


def _said(result: dict[str, Any]) -> str:
    figures = result["figures"]
    compared = f"[green]the same came back[/], by {screen.counted(figures['compared_facts'], 'fact')}"
    how = compared if figures["compared_facts"] else "[yellow]it came back, and there was nothing to compare[/]"
    items = f"{screen.counted(figures['items'], 'item')}, {screen.size(figures['restored_bytes'])}"
    return f"{how}; {items}, in {screen.duration(figures['seconds'])}"

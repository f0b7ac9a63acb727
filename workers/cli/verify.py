"""`verify`: read back what is stored, and say exactly what is damaged."""

from __future__ import annotations

from typing import Any

import click

from tasks.outcome import Outcome
from tasks.progress import Progress
from tasks.verify import verify
from workers.cli import screen
from workers.cli.main import subcommand
from workers.cli.proving import pairs_of, show, tried
from workers.cli.session import Session


@subcommand("verify")
@click.argument("source", required=False)
@click.option("-s", "--snapshot", default="", help="The snapshot to prove; default: the newest.")
@click.option("-d", "--destination", help="Only this destination.")
@click.option("--everything", is_flag=True, help="Read every stored byte, not only what that snapshot added.")
def command(session: Session, source: str | None, snapshot: str, destination: str | None, everything: bool) -> int:
    """Check SOURCE, or all, and keep the proof beside the snapshot. Exits with 65 where something is damaged."""

    def work(name: str, place: str, progress: Progress) -> Outcome:
        return verify(session.reader, name, place, snapshot, everything=everything, progress=progress)

    pairs = pairs_of(session, source, destination, snapshot)
    return show(session, list(tried(session, pairs, "verifying", work)), _said)


def _said(result: dict[str, Any]) -> str:
    figures = result["figures"]
    return (
        f"[green]good[/]; {screen.counted(figures['snapshots'], 'snapshot')},"
        f" {screen.counted(figures['packs'], 'pack')}, of which"
        f" {figures.get('read_packs', 0):.0f} read whole ({screen.size(figures.get('read_bytes', 0))})"
    )

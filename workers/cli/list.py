"""`list`: the snapshots there are, and what is proven of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.text import Text

from tasks.repository import Proof, Repository, Snapshot, is_proven
from workers.cli import screen
from workers.cli.main import subcommand
from workers.cli.place import from_place
from workers.cli.session import Session


@subcommand("list")
@click.argument("source", required=False)
@click.option("-d", "--destination", help="Only this destination.")
@click.option("--since", help="Only snapshots from this time on: `2026-11-23`, `3 days ago`.")
@from_place
def command(session: Session, source: str | None, destination: str | None, since: str | None) -> int:
    """The snapshots of one source, or of all."""
    first = None if since is None else session.moment(since, datetime.now(UTC)).first
    found = [
        row
        for name, place, repository in session.repositories(source, destination)
        for row in rows(name, place, repository)
        if first is None or row["started"] >= first
    ]
    if session.as_json:
        screen.print_json(found)
        return session.exit_code
    if not found:
        none = "There is no snapshot yet: `geometra-backup run` takes one."
        screen.console.print(f"There is no snapshot since {first:%Y-%m-%d %H:%M} UTC." if first else none)
        return session.exit_code
    screen.table(
        ("snapshot", "source", "at", "taken", "state", ("holds", "right"), ("stored", "right")),
        [
            (
                row["snapshot"],
                row["source"],
                row["destination"],
                screen.age(row["started"]),
                _state(row["complete"], row["proven"]),
                screen.size(row["content_bytes"]),
                "+" + screen.size(row["stored_bytes"]),
            )
            for row in found
        ],
    )
    return session.exit_code


def rows(source: str, destination: str, repository: Repository) -> list[dict[str, Any]]:
    """What `list` shows, oldest first; `proven` is None before the first proof."""
    proofs = repository.proofs()
    return [
        row(source, destination, snapshot, proofs.get(snapshot.id, ())) for snapshot in repository.readable_snapshots()
    ]


def row(source: str, destination: str, snapshot: Snapshot, proofs: Sequence[Proof]) -> dict[str, Any]:
    return {
        "snapshot": snapshot.id,
        "source": source,
        "destination": destination,
        "kind": snapshot.kind,
        "run": snapshot.run,
        "host": snapshot.host,
        "started": snapshot.started,
        "finished": snapshot.finished,
        "complete": snapshot.complete,
        "proven": is_proven(proofs) if proofs else None,
        "drilled": max((proof.when for proof in proofs if proof.verb == "drill" and proof.good), default=None),
        "content_bytes": snapshot.figures.get("content_bytes", 0),
        "stored_bytes": snapshot.figures.get("stored_bytes", 0),
        "items": snapshot.figures.get("items", 0),
    }


def _state(complete: bool, proven: bool | None) -> Text:
    if not complete:
        return Text("incomplete", style="yellow")
    if proven is None:
        return Text("not proven yet", style="dim")
    return Text("proven", style="green") if proven else Text("damaged", style="red")

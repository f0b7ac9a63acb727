"""`prune`: what retention lets go, shown first and then done."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from tasks.errors import BackupError, NotARepository
from tasks.prune import Pruning, act, plan_pruning, replace_damaged
from workers.cli import screen
from workers.cli.following import watching
from workers.cli.main import shared_code, subcommand
from workers.cli.session import Session


@subcommand("prune")
@click.argument("source", required=False)
@click.option("-d", "--destination", help="Only this destination.")
@click.option("--forget", multiple=True, metavar="ID", help="Let this one go too: a damaged one, with a SOURCE.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would go; change nothing.")
def command(
    session: Session, source: str | None, destination: str | None, forget: tuple[str, ...], dry_run: bool
) -> int:
    """Let go what no retention rule keeps and something newer, proven and complete makes dispensable."""
    if forget and source is None:
        raise click.UsageError("--forget needs the SOURCE whose snapshot it is")
    shown: list[dict[str, Any]] = []
    pairs, errors = session.pairs(source, destination), list[BackupError]()
    for name, place in pairs:
        try:
            with watching(f"pruning {name} at {place}", session.as_json) as progress:
                if not dry_run:
                    replace_damaged(session.reader, name, place)
                pruning = plan_pruning(session.reader, name, place, datetime.now(UTC), named=forget)
                figures = pruning.plan.figures if dry_run else act(pruning.plan, place, progress)
            shown.append(_row(name, place, pruning, figures))
        except BackupError as error:
            if len(pairs) == 1 or forget:
                raise
            if isinstance(error, NotARepository) and source is None:
                continue  # nothing of that source was ever brought there
            errors.append(error)
            failure = {"kind": error.kind, "message": str(error)}
            shown.append({"source": name, "destination": place, "state": "failed", "failure": failure})
        if not session.as_json:
            _print(shown[-1], dry_run)
    if session.as_json:
        screen.print_json(shown)
    elif not shown:
        screen.line(f"Nothing was ever uploaded to {', '.join(sorted({place for _, place in pairs}))}.")
    return shared_code(error.exit_code for error in errors)


def _row(source: str, destination: str, pruning: Pruning, figures: dict[str, float]) -> dict[str, Any]:
    snapshots = [
        {"snapshot": each.snapshot.id, "started": each.snapshot.started, "keep": each.keep, "reasons": each.reasons}
        for each in pruning.judgements
    ]
    return {
        "source": source,
        "destination": destination,
        "state": "done",
        "snapshots": snapshots,
        "figures": figures,
    }


def _print(row: dict[str, Any], dry_run: bool) -> None:
    if row["state"] == "failed":
        what = f"{row['source']} at {row['destination']}"
        screen.console.print(f"{what}: {row['failure']['message']}", style="red", markup=False, soft_wrap=True)
        return
    screen.table(
        ("snapshot", "", "because"),
        [
            (each["snapshot"], "keep" if each["keep"] else "let go", ", ".join(each["reasons"]))
            for each in row["snapshots"]
        ],
        title=f"{row['source']} at {row['destination']}",
    )
    figures, would = row["figures"], "would be " if dry_run else ""
    screen.console.print(
        f"{screen.counted(figures['forget'], 'snapshot')} {would}let go;"
        f" {screen.counted(figures['condemn'], 'pack')} {would}condemned,"
        f" {figures['repack']:.0f} {would}rewritten, {figures['delete']:.0f} {would}deleted:"
        f" {screen.size(figures['freed_bytes'])} freed"
    )
    if figures["condemn"]:
        screen.console.print("What is condemned is deleted by a prune once `grace` is over, so that no run loses it")
    if figures["locked"]:
        screen.console.print(f"{figures['locked']:.0f} snapshots and packs are locked: they go when that is over")

"""`show`: one snapshot, whole: what it holds, what is wrong with it, what proves it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from rich.markup import escape

from tasks.item import FOLDER, HARDLINK, SYMLINK, Stored
from tasks.repository import Proof, Snapshot
from workers.cli import screen
from workers.cli.main import subcommand
from workers.cli.place import from_place
from workers.cli.session import Session, chosen


@subcommand("show")
@click.argument("source")
@click.argument("snapshot", default="latest")
@click.option("-d", "--destination", help="Look there; default: the first of the source's that has it.")
@click.option("--items", is_flag=True, help="List what it holds.")
@from_place
def command(session: Session, source: str, snapshot: str, destination: str | None, items: bool) -> None:
    """One snapshot: its figures, flaws, facts and proofs. SNAPSHOT is an id, its beginning, or `latest`."""
    place, repository = session.holding(source, destination, snapshot)
    found = chosen(repository, snapshot)
    if items:
        listed = (_listed(item) for item in repository.read(found))
        if session.as_json:
            screen.print_json_list(listed)
        else:
            for item in listed:
                about = f"{item['mode']:>5} {item['owner']:<16} {screen.size(item['size']):>9}"
                screen.line(f"{about}  {item['path']}{item['link']}")
        return
    proofs = repository.proofs().get(found.id, [])
    if session.as_json:
        data = asdict(found) | {"destination": place, "proofs": [asdict(proof) for proof in proofs]}
        screen.print_json({name: value for name, value in data.items() if name not in ("content", "level", "packs")})
        return
    _print(found, place, proofs)


def _print(found: Snapshot, place: str, proofs: list[Proof]) -> None:
    figures = found.figures
    state = screen.state("done" if found.complete else "incomplete").markup
    out = screen.console.print
    out(f"[bold]{found.id}[/]  {escape(found.source)} ({escape(found.kind)}) at {place}  {state}")
    taken = f"{found.started:%Y-%m-%d %H:%M:%S} UTC on {found.host or '?'} in run {found.run}"
    out(f"  taken     {taken}", markup=False, soft_wrap=True)
    out(
        f"  holds     {screen.counted(figures.get('items', 0), 'item')},"
        f" {screen.size(figures.get('content_bytes', 0))};"
        f" {figures.get('unchanged', 0):,.0f} were unchanged and not read again"
    )
    out(
        f"  cost      {screen.size(figures.get('read_bytes', 0))} read, {screen.size(figures.get('new_bytes', 0))} new,"
        f" {screen.size(figures.get('stored_bytes', 0))} stored, {screen.duration(figures.get('seconds', 0))}"
    )
    for name, path in found.roots.items():
        screen.console.print(f"  from      {path} as {name}", markup=False, soft_wrap=True)
    for flaw in found.flaws[:20]:
        path = screen.text(flaw.path.encode("utf-8", "surrogateescape"))
        allowed = " (allowed)" if flaw.allowed else ""
        screen.console.print(f"  {flaw.what:<9} {path}{allowed}: {flaw.why}", markup=False, soft_wrap=True)
    if len(found.flaws) > 20:
        out(f"  and {figures.get('flaws', len(found.flaws)) - 20:.0f} more: --json shows them")
    for proof in proofs:
        what = "[green]good[/]" if proof.good else "[red]bad[/]"
        out(f"  proof     {proof.verb} {proof.when:%Y-%m-%d %H:%M} UTC: {what}; depth {proof.depth}")
        for finding in proof.findings[:10]:
            screen.console.print(f"            {finding}", markup=False, soft_wrap=True)
    for name, value in found.facts.items():
        screen.console.print(f"  {name:<9} {_short(value)}", markup=False, soft_wrap=True)


def _short(value: Any) -> str:
    shown = str(value)
    return shown if len(shown) <= 300 else shown[:300] + " …"


def _listed(item: Stored) -> dict[str, Any]:
    entry = item.entry
    arrow = {SYMLINK: " -> ", HARDLINK: " = "}.get(entry.type, "")
    return {
        "path": screen.text(entry.path) + ("/" if entry.type == FOLDER else ""),
        "type": entry.type,
        "mode": f"{entry.mode:o}",
        "owner": f"{entry.user or entry.uid}:{entry.group or entry.gid}",
        "size": entry.size,
        "mtime_ns": entry.mtime_ns,
        "link": arrow + screen.text(entry.link) if arrow else "",
    }

"""`run`: a night by hand, with whatever broker is configured; the embedded one where none is."""

from __future__ import annotations

from typing import Any

import click
from rich.text import Text

from tasks.broker import is_embedded
from tasks.plan import begin
from workers.cli import screen
from workers.cli.following import follow
from workers.cli.main import exit_code, subcommand
from workers.cli.session import Session
from workers.embedded import embedded


@subcommand("run")
@click.argument("plan", required=False)
@click.option("-s", "--source", "sources", multiple=True, help="Only this source; may be given again.")
@click.option("--no-wait", is_flag=True, help="Only send it to the workers; print the run's id.")
def command(session: Session, plan: str | None, sources: tuple[str, ...], no_wait: bool) -> int:
    """Back up now: PLAN, or every source. Shows the workers' progress and, at the end, the report."""
    session.tell_of_outdated()
    if is_embedded(session.settings):
        if no_wait:
            raise click.UsageError("--no-wait needs workers that go on: name a broker, and start `serve` or workers")
        with embedded(session.settings, session.file, passphrase=session.passphrase()):
            report = _run(session, plan, sources)
    else:
        from workers.celery import app

        app.set_current()
        if no_wait:
            begun = begin(session.installation, plan or "", sources=sources).id
            screen.print_json({"run": begun}) if session.as_json else screen.console.print(begun)
            return 0
        report = _run(session, plan, sources)
    show(report, session.as_json, session.settings.host)
    return exit_code(report["state"])


def _run(session: Session, plan: str | None, sources: tuple[str, ...]) -> dict[str, Any]:
    if plan in session.settings.sources and plan not in session.settings.plans:
        raise click.UsageError(f"`{plan}` is a source, and `run` takes a plan: `run --source {plan}`")
    run = begin(session.installation, plan or "", sources=sources)
    return follow(session.installation.record, run, session.as_json)


def show(report: dict[str, Any], as_json: bool, here: str) -> None:
    """A report, for a person at the host `here`, or a script."""
    if as_json:
        screen.print_json(report)
        return
    rows = []
    for source, point in report["recovery_point"]["sources"].items():
        backup = report["steps"][f"backup/{source}"]
        figures = backup["figures"]
        rows.append(
            (
                source,
                screen.state(_worst(report, source)),
                screen.size(figures.get("content_bytes", 0)),
                screen.size(figures.get("read_bytes", 0)),
                screen.size(figures.get("stored_bytes", 0)),
                screen.duration(figures.get("seconds", 0)),
                ", ".join(point["destinations"]) or "nowhere",
                Text(", ".join(point["proven"]) or "nowhere", style="green" if point["proven"] else "red"),
            )
        )
    if rows:
        columns = ("source", "state", ("holds", "right"), ("read", "right"), ("stored", "right"), ("took", "right"))
        screen.table((*columns, "stored at", "proven at"), rows)
    for source, backup in ((name, step) for name, step in report["steps"].items() if name.startswith("backup/")):
        for flaw in backup["flaws"][:5]:
            screen.console.print(f"  {source[7:]}: {flaw}", style="yellow", markup=False, soft_wrap=True)
    for failure in report["failures"]:
        screen.failure(failure, here, indent=2)
    if "unwritten" in report:
        screen.console.print(f"  {report['unwritten']}", style="yellow", markup=False, soft_wrap=True)
    point = report["recovery_point"]
    whole = "one recovery point, whole" if point["whole"] else "not a whole recovery point"
    screen.console.print(
        f"Run {report['run']}: [{screen.STATE[report['state']]}]{report['state']}[/] in"
        f" {screen.duration(report['seconds'])}; {whole}, skew {screen.duration(point['skew_seconds'])}"
    )


def _worst(report: dict[str, Any], source: str) -> str:
    states = {step["state"] for step in report["steps"].values() if step["source"] == source}
    return next((state for state in ("failed", "skipped", "incomplete") if state in states), "done")

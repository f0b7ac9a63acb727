"""`status`: how things stand, in one screen: what is backed up, how old, proven or not, and what is next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from tasks.errors import BackupError, NotARepository
from tasks.plan import last_expected
from tasks.report_files import read_reports
from tasks.repository import is_ahead
from workers.cli import screen
from workers.cli.list import rows
from workers.cli.main import subcommand
from workers.cli.session import Session


@subcommand("status")
def command(session: Session) -> int:
    """Of every source at every destination: the newest snapshot and the newest proof; and the last runs.

    Exits with 0 only if each source has a complete, proven snapshot at each destination since its plan was last due.
    """
    now = datetime.now(UTC)
    session.tell_of_outdated()
    places = [
        _place(session, source, destination, now)
        for source in session.settings.sources
        for destination in session.settings.destinations_of(source)
    ]
    reports = [
        {name: report[name] for name in ("run", "plan", "state", "started", "seconds", "failures")}
        for report in read_reports(session.installation.reports, 5)
    ]
    good = all(place["good"] for place in places)
    if session.as_json:
        screen.print_json({"good": good, "sources": places, "runs": reports})
    else:
        _print(places, reports)
    return 0 if good else 1


def _place(session: Session, source: str, destination: str, now: datetime) -> dict[str, Any]:
    spool = session.installation.spool
    place: dict[str, Any] = {"source": source, "destination": destination, "spooled": 0, "good": False}
    try:
        place["spooled"] = waiting = len(spool.pending(source, destination))
        unreadable = spool.unreadable(source)
        listed = rows(source, destination, session.installation.repository(source, destination))
    except NotARepository:
        return place | {"problem": "never backed up"}
    except BackupError as error:
        return place | {"problem": str(error)}
    if not listed:
        return place | {"problem": "no snapshot"}
    newest = listed[-1]
    usable = (row for row in reversed(listed) if row["proven"] and row["complete"])
    proven = next((row for row in usable if not is_ahead(row["started"], now)), None)
    plans = [plan for plan in session.settings.plans if source in session.settings.sources_of(plan)]
    due = [last_expected(session.settings, plan, source, now) for plan in plans]
    since = max((moment for moment in due if moment), default=None)
    problem = _failed(session, source, destination)
    if unreadable:
        problem = unreadable[0]
    elif waiting:
        problem = f"{waiting} captures wait in the spool to be uploaded"
    elif problem:
        pass
    elif proven is None:
        problem = "nothing is proven yet"
    elif since is not None and proven["started"] < since:
        problem = f"nothing proven since the plan was due, {since:%Y-%m-%d %H:%M} UTC"
    elif newest is not proven:
        problem = "the newest snapshot is not proven" if newest["complete"] else "the newest snapshot is incomplete"
    snapshots = {"newest": newest["snapshot"], "proven": proven["snapshot"] if proven else None}
    times = {"newest_started": newest["started"], "proven_started": proven["started"] if proven else None}
    return place | snapshots | times | {"snapshots": len(listed), "good": not problem, "problem": problem}


def _failed(session: Session, source: str, destination: str) -> str:
    """What the last run that had this source at this destination failed with; empty if it did not."""
    for report in read_reports(session.installation.reports, 20):
        steps = {step: outcome for step, outcome in report["steps"].items() if outcome["source"] == source}
        if any(outcome["destination"] == destination for outcome in steps.values()):
            failed = [o for o in steps.values() if o["state"] == "failed" and o["destination"] in ("", destination)]
            return f"the last run failed: {failed[0]['failure']['message']}" if failed else ""
    return ""


def _print(places: list[dict[str, Any]], reports: list[dict[str, Any]]) -> None:
    screen.table(
        ("source", "at", ("snapshots", "right"), "newest", "newest proven", ("waiting", "right"), ""),
        [
            (
                place["source"],
                place["destination"],
                place.get("snapshots", 0),
                screen.age(place["newest_started"]) if place.get("newest_started") else "-",
                screen.age(place["proven_started"]) if place.get("proven_started") else "-",
                place["spooled"] or "",
                Text("good", style="green") if place["good"] else Text(place["problem"], style="red"),
            )
            for place in places
        ],
    )
    for report in reports:
        started = datetime.fromisoformat(report["started"])
        state = report["state"]
        screen.console.print(
            f"run {report['run']} {report['plan']}: [{screen.STATE[state]}]{state}[/], {screen.age(started)},"
            f" {screen.duration(report['seconds'])}"
        )
        for failure in report["failures"][:5]:
            line = f"    {failure['step']}: {failure['message']}"
            screen.console.print(line, style="red", markup=False, soft_wrap=True)

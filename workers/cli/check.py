"""`check`: everything a night needs, tried now."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import click
from rich.text import Text

from tasks.beat_record import BeatRecord
from tasks.broker import broker_url, connect, is_embedded
from tasks.check import Finding, check, check_destination
from tasks.destinations.rights import ROLES, Role
from tasks.errors import SettingsError
from tasks.settings import Settings
from workers.cli import screen
from workers.cli.main import subcommand
from workers.cli.session import Session
from workers.outdated import outdated
from workers.signing import set_up, valid_until
from workers.unserved import unserved

_MARKS = {"good": Text("good", style="green"), "weak": Text("weak", style="yellow"), "bad": Text("bad", style="red")}


@subcommand("check")
@click.argument("destination", required=False)
@click.option("--role", type=click.Choice(ROLES), default="writer", help="Whose rights DESTINATION is tried with.")
def command(session: Session, destination: str | None, role: Role) -> int:
    """Try everything that tonight needs: settings, keys, sources, destinations, spool, broker, workers.

    With a DESTINATION, that one alone: is it there, and can a writer, or another role, work there with what this host
    has. Exits with 1 if anything would fail.
    """
    findings = list(check_destination(session.installation, destination, role) if destination else _everything(session))
    if session.as_json:
        screen.print_json([asdict(finding) for finding in findings])
    else:
        rows = [
            (_MARKS[each.state], each.what, f"{each.says}: {each.advice}" if each.advice else each.says)
            for each in findings
        ]
        screen.table(("", "what", "found"), rows)
    return 1 if any(finding.state == "bad" for finding in findings) else 0


def _everything(session: Session) -> list[Finding]:
    findings = list(check(session.installation))
    if session.settings.signing:
        findings.insert(-1, _signing(session.settings))
    if not is_embedded(session.settings) and findings[-1].state != "bad":
        pools = unserved(session.settings)
        advice = "start a worker: `celery -A workers worker -Q " + ",".join(pools) + "`"
        says = "no worker serves " + ", ".join(pools)
        findings.append(Finding("workers", "bad", says, advice) if pools else Finding("workers", "good", "all pools"))
        if any(plan.schedule for plan in session.settings.plans.values()):
            findings.append(_beat(session))
    if older := outdated(session.settings):
        findings.append(Finding("processes", "weak", older.says, older.advice))
    return findings


def _beat(session: Session) -> Finding:
    active = BeatRecord(connect(broker_url(session.settings))).active()
    if not active:
        advice = "start one or more: `celery -A workers beat`"
        return Finding("beat", "weak", "none is running, so no plan starts by itself", advice)
    return Finding("beat", "good", f"`{active}` is active")


def _signing(settings: Settings) -> Finding:
    assert settings.signing  # noqa: S101 - asked for only then
    try:
        set_up(settings)
        until = min(map(valid_until, settings.signing.certificates.glob("*.pem")))
    except SettingsError as error:
        return Finding("signing", "bad", str(error))
    says = f"every certificate is valid until {until:%Y-%m-%d} at least"
    if until - datetime.now(UTC) < timedelta(days=30):
        return Finding("signing", "weak", f"a certificate expires on {until:%Y-%m-%d}", "make a new one on its host")
    return Finding("signing", "good", says)

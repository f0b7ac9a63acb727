"""Read a snapshot back where it is stored, and leave the proof beside it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from celery import Task, shared_task

from tasks.chosen import chosen_snapshot
from tasks.errors import Damaged
from tasks.installation import Installation
from tasks.outcome import Outcome, State
from tasks.progress import Progress, unheard
from tasks.repository import CheckReport, Proof, Scope, Snapshot
from tasks.step import run_step

ROUND = 30
"""Days in which every stored byte is read again."""


def verify(
    installation: Installation,
    source: str,
    destination: str,
    snapshot: str = "",
    *,
    everything: bool = False,
    progress: Progress = unheard,
) -> Outcome:
    """Check that every snapshot's lists are whole, read back what one snapshot (empty: the newest) added and a
    thirtieth of what is older, another one each day, or `everything`; and store a signed proof of what was found.
    Raises `Damaged`, after it has stored the bad proof and condemned what is damaged, so that the next capture stores
    it again."""
    installation.source(source)
    repository = installation.repository(source, destination, reader=True)
    chosen = chosen_snapshot(repository, snapshot, destination)
    now = datetime.now(UTC)
    scope = None if everything else Scope(chosen, now.toordinal() % ROUND, ROUND)
    found = repository.check("content", scope, progress)
    for each in repository.readable_snapshots() if everything else [chosen]:
        repository.prove(_proof(each, found, now, alone=not everything))
    repository.condemn_damaged(found.damaged_packs, now)
    damage = list(
        dict.fromkeys(each.what if each.name in each.what else f"`{each.name}` {each.what}" for each in found.damage)
    )
    if damage:
        more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
        advice = "the next backup stores again what the source still has"
        raise Damaged(f"`{source}` at `{destination}` is damaged: {damage[0]}{more}; {advice}")
    state: State = "done" if chosen.complete else "incomplete"
    return Outcome("verify", source, destination, snapshot=chosen.id, state=state, figures=found.figures)


def _proof(chosen: Snapshot, found: CheckReport, now: datetime, *, alone: bool) -> Proof:
    """Where everything was read (not `alone`), what is damaged counts for the snapshots that the check says suffer."""
    damage = found.damage
    if not alone:
        others = ("packs/", "snapshots/")
        damage = [d for d in damage if d.name == f"snapshots/{chosen.id}" or not d.name.startswith(others)]
    findings = [f"{each.name}: {each.what}" for each in damage]
    if not chosen.complete:
        findings.append("the snapshot is incomplete: its flaws are listed in it")
    good = not damage and chosen.complete
    return Proof(chosen.id, "verify", now, good, "content", tuple(findings[:100]), dict(found.figures))


@shared_task(name="verify", bind=True, max_retries=None)
def verify_task(
    self: Task[Any, Any], previous: dict[str, Any] | None = None, *, source: str, destination: str, run: str
) -> dict[str, Any]:
    """`previous` is the outcome of the upload; without it, the newest snapshot is verified."""
    snapshot = previous["snapshot"] if previous else ""

    def work(installation: Installation, progress: Progress) -> Outcome:
        return replace(verify(installation, source, destination, snapshot, progress=progress), run=run)

    return run_step(self, Outcome("verify", source, destination, run, snapshot), previous, work)

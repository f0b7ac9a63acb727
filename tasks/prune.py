"""Let go what retention lets go: first decide, then act."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from celery import Task, shared_task

from tasks.errors import BackupError, Condemned, Damaged, Locked, NoSpace, NotFound, Refused
from tasks.installation import Installation
from tasks.outcome import Outcome
from tasks.progress import Progress, unheard
from tasks.record import Record, step_name
from tasks.repository import PrunePlan, Repository, Snapshot, is_ahead, is_proven
from tasks.repository.condemned import doubts
from tasks.repository.healing import heal
from tasks.retention import Judgement, judge
from tasks.settings import Keep, Settings
from tasks.step import run_step


@dataclass(frozen=True, slots=True)
class Pruning:
    """What a prune would do: a judgement for every snapshot, oldest first, and what follows for the stored data."""

    judgements: list[Judgement[Snapshot]]
    plan: PrunePlan


def plan_pruning(
    installation: Installation, source: str, destination: str, now: datetime, *, named: Collection[str] = ()
) -> Pruning:
    """Decide, and change nothing. A snapshot goes only if every plan that covers the source lets it go, or a person
    has `named` it, such as a damaged one that would stop every prune. Raises `NotFound`; `Refused` for a named one
    that is proven, but for one that a wrong clock dated ahead: else it would stay until that time comes; and for one
    that can't be read any more, whatever it was proven to be."""
    installation.source(source)
    repository = installation.repository(source, destination, reader=True)
    ids = repository.snapshot_ids()
    proofs = {name: is_proven(found) for name, found in repository.proofs().items()}
    for name in named:
        if name not in ids:
            raise NotFound(f"`{source}` has no snapshot `{name}` at `{destination}`: `list` shows what there is")
    snapshots = [repository.snapshot(name) for name in ids if name not in named]
    others_proven = any(each.complete and proofs.get(each.id) and not is_ahead(each.started, now) for each in snapshots)
    for name in named:
        if not proofs.get(name) or _is_damaged(repository, name):
            continue
        if not (others_proven and is_ahead(repository.snapshot(name).started, now)):
            raise Refused(f"`{name}` is proven, so it is left to retention: only what is not can be let go by name")
    judgements = [judge(snapshots, proofs, keep, now, zone) for keep, zone in rules_of(installation.settings, source)]
    joined = [_joined(same) for same in zip(*judgements, strict=True)]
    forget = [*named, *(each.snapshot.id for each in joined if not each.keep)]
    return Pruning(joined, repository.plan_prune(forget, now, installation.settings.grace))


def _is_damaged(repository: Repository, name: str) -> bool:
    try:
        repository.snapshot(name)
    except Damaged:
        return True
    return False


def prune(installation: Installation, source: str, destination: str, *, progress: Progress = unheard) -> Outcome:
    """Decide and act: forget snapshots, condemn what only they needed, delete what was condemned long enough ago. And
    replace what is damaged there, first of all."""
    healed = replace_damaged(installation, source, destination)
    plan = plan_pruning(installation, source, destination, datetime.now(UTC)).plan
    figures = act(plan, destination, progress) | ({"healed": float(healed)} if healed else {})
    return Outcome("prune", source, destination, figures=figures)


def replace_damaged(installation: Installation, source: str, destination: str) -> int:
    """Replace packs that a verify found damaged by what is whole at the source's other destinations: uploads do so as
    well, but may not be allowed to delete. Returns how many. A destination that can't be asked is passed over, to be
    asked the next time."""
    to, healed = installation.repository(source, destination, reader=True), 0
    for name in installation.destinations_of(source):
        if name == destination or not doubts(to.destination, to.keys, strict=False).damaged:
            continue
        with suppress(BackupError):
            here = installation.repository(source, name, reader=True)
            healed += heal(here, to, here.sound_index(names=True), reading=True)
    return healed


def act(plan: PrunePlan, destination: str, progress: Progress) -> dict[str, float]:
    """Raises `Refused` where that takes other credentials than these."""
    try:
        return dict(plan.apply(progress=progress))
    except Locked:
        raise
    except Refused as error:
        raise Refused(
            f"{error}; what prunes has rights of its own: `geometra-backup policy {destination} --role pruner`"
        ) from error


def rules_of(settings: Settings, source: str) -> list[tuple[Keep, ZoneInfo]]:
    """The retention rules of every plan that covers a source; the default ones where no plan does."""
    plans = [plan for plan in settings.plans if source in settings.sources_of(plan)]
    rules = [(settings.plans[plan].keep, settings.zone_of(plan)) for plan in plans]
    return rules or [(Keep(), ZoneInfo(settings.timezone))]


def _joined(same: tuple[Judgement[Snapshot], ...]) -> Judgement[Snapshot]:
    """What several plans say of one snapshot: it stays if any of them keeps it."""
    said = [each for each in same if each.keep] or list(same)
    reasons = tuple(dict.fromkeys(reason for each in said for reason in each.reasons))
    return Judgement(same[0].snapshot, said[0].keep, reasons)


@shared_task(name="prune", bind=True, max_retries=None)
def prune_task(
    self: Task[Any, Any], previous: dict[str, Any] | None = None, *, source: str, destination: str, run: str
) -> dict[str, Any]:
    snapshot = previous["snapshot"] if previous else ""

    def work(installation: Installation, progress: Progress) -> Outcome:
        return replace(prune(installation, source, destination, progress=progress), run=run, snapshot=snapshot)

    blank = Outcome("prune", source, destination, run, snapshot)
    return run_step(self, blank, previous, work, anyway=partial(_makes_way, blank))


def _makes_way(blank: Outcome, record: Record) -> bool:
    """Whether the upload of this run gave up because of packs that are due to be deleted, or for want of room: while
    they are there, so will every other one that needs what they hold, or their room."""
    upload = record.outcome(blank.run, step_name("upload", blank.source, blank.destination))
    failure = Outcome.from_json(upload).failure if upload else None
    return failure is not None and failure.kind in (Condemned.__name__, NoSpace.__name__)

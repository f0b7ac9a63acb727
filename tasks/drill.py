"""Put a snapshot back where nobody needs it, into a real server where it came from one, and compare with what was
counted when it was captured. The proof of that lies beside the snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from celery import Task, shared_task

from tasks.chosen import chosen_snapshot
from tasks.errors import Damaged, NoSpace
from tasks.installation import Installation
from tasks.item import FILE, FOLDER, Facts, StoredItems
from tasks.outcome import Outcome, State
from tasks.progress import Progress, unheard
from tasks.repository import Proof, is_ahead
from tasks.scratch import check_holds_all, scratch_folder, usual
from tasks.sources.file_facts import OWNERS
from tasks.sources.path_text import path_text
from tasks.sources.source import Rehearsable, Rehearsal, Restoring, Rooted, Served, Source
from tasks.step import run_step
from tasks.watched import Watched

VERB = "drill"

_EARLIER, _EARLIEST = 10, timedelta(hours=6)
"""A drill is due that part of its interval early, and at most so much: a night never begins to the second."""
_TOLD = 5
_DIFFERING = "differing_facts"


def drill(
    installation: Installation, source: str, destination: str, snapshot: str = "", *, progress: Progress = unheard
) -> Outcome:
    """Restore one snapshot (empty: the newest) into a scratch folder, or a scratch server of this host, look at it and
    remove it; and store a signed proof of what was found. *incomplete*: the snapshot is, or there was nothing to
    compare; `flaws` says what this host could not give back, though it is there. Raises `Damaged` where something else
    came back than was captured, after it has stored the bad proof; `SettingsError` where a program is missing,
    `Refused` where the scratch server does not take it, `NoSpace`, `Unavailable`."""
    installation.source(source)
    repository = installation.repository(source, destination, reader=True)
    chosen = chosen_snapshot(repository, snapshot, destination)
    made, size = installation.source_of(source, chosen.kind), int(chosen.figures.get("content_bytes", 0))
    items = Watched(repository.read(chosen), size, progress)
    now = datetime.now(UTC)
    found, rehearsal = list[str](), Rehearsal((), [])
    try:
        below = installation.settings.scratch or usual()
        with scratch_folder(below) as scratch:
            try:
                rehearsal = _rehearsed(made, items, chosen.facts, scratch)
            except NoSpace as error:
                where = f"in the scratch folder `{below}`, and `scratch` points it elsewhere"
                raise NoSpace(f"{error}; this is a drill, {where}") from error
            found = differences(chosen.facts, rehearsal.looks)
            if found and isinstance(made, Rooted):
                check_holds_all(scratch)
    except Damaged as error:
        found = [str(error)]
    compared = sum(len(look.keys() & chosen.facts.keys()) for look in rehearsal.looks)
    figures = {
        "items": chosen.figures.get("items", 0),
        "restored_bytes": float(size),
        "compared_facts": float(compared),
        _DIFFERING: float(len(found)),
    }
    bad = [line if rehearsal.looks == () else f"{line} is not what was captured" for line in found]
    findings = (*bad, *rehearsal.missed)
    if not chosen.complete:
        findings += ("the snapshot is incomplete: its flaws are listed in it",)
    good, depth = not found and chosen.complete, "compared" if compared else "restored"
    repository.prove(Proof(chosen.id, VERB, now, good, depth, findings[:100], figures))
    if found:
        more = f" (and {len(found) - _TOLD} more)" if len(found) > _TOLD else ""
        raise Damaged(
            f"what came back of `{source}` at `{destination}`, {chosen.id}, is not what was captured:"
            f" {'; '.join(found[:_TOLD])}{more}; `drill {source} --snapshot ID` tells of an older one, and nothing"
            " proven is let go meanwhile; this one counts as damaged until a drill of it is good"
        )
    state: State = "done" if chosen.complete and compared else "incomplete"
    return Outcome(
        VERB, source, destination, snapshot=chosen.id, state=state, figures=figures, flaws=tuple(rehearsal.missed[:100])
    )


def _rehearsed(made: Source, items: StoredItems, captured: Facts, scratch: Path) -> Rehearsal:
    if isinstance(made, Served) and (odd := [item for item in items if item.entry.type not in (FILE, FOLDER)]):
        # A server would follow a link, and whoever writes beside it too.
        path = path_text(odd[0].entry.path)
        raise Damaged(f"`{path}` is neither a file nor a folder: no capture of `{made.kind}` puts that there")
    if isinstance(made, Rehearsable):
        return made.rehearse(items, captured, scratch)
    # To whom files belong is for root to give back, where the same users are: it is not compared.
    missed = made.restore(items, items, scratch, Restoring(owners=False))
    return Rehearsal(({name: fact for name, fact in made.examine(scratch).items() if name != OWNERS},), missed)


def differences(captured: Facts, looks: Iterable[Facts]) -> list[str]:
    """What was seen and is not as it was captured: the facts' names, and those within a table of them. Never what they
    are: that is for who may read the snapshot. What an older build did not count is passed over: something that came
    back and was not there changes a digest or a list too."""
    found = dict[str, None]()
    for look in looks:
        for name, fact in look.items():
            before = captured.get(name, fact)
            if before == fact:
                continue
            if isinstance(before, dict) and isinstance(fact, dict):
                within = [key for key in {**before, **fact} if before.get(key) != fact.get(key)]
                found |= dict.fromkeys(f"`{name}` of `{key}`" for key in within)
            else:
                found[f"`{name}`"] = None
    return list(found)


def is_due(last: datetime | None, every: timedelta | None, now: datetime) -> bool:
    """Whether a night is to drill, where that is wanted `every` so often. A time to come, which a wrong clock gave,
    does not count."""
    if every is None:
        return False
    return last is None or not timedelta(0) <= now - last < every - min(every / _EARLIER, _EARLIEST)


def last_counting(found: Mapping[str, Sequence[Proof]], now: datetime) -> datetime | None:
    """When a drill that a night goes by last saw what was captured, incomplete as that may be. Of a snapshot that is
    older than one which came back otherwise it tells nothing of what is captured since. `found`: the proofs of
    drills."""
    same = {
        name: [proof for proof in of if proof.good or proof.figures.get(_DIFFERING) == 0] for name, of in found.items()
    }
    bad = max((name for name, of in found.items() if of[-1] not in same[name]), default="")
    known = (proof.when for name, of in same.items() if name > bad for proof in of)
    return max((when for when in known if not is_ahead(when, now)), default=None)


@shared_task(name=VERB, bind=True, max_retries=None)
def drill_task(
    self: Task[Any, Any], previous: dict[str, Any] | None = None, *, source: str, destination: str, run: str
) -> dict[str, Any]:
    """`previous` is the outcome of the verify: where no drill is due yet, it is *done*, and `figures` tell when the
    last one was. Without it, the newest snapshot is drilled."""
    snapshot = previous["snapshot"] if previous else ""
    blank = Outcome(VERB, source, destination, run, snapshot)

    def work(installation: Installation, progress: Progress) -> Outcome:
        every = installation.settings.sources[source].drill if source in installation.settings.sources else None
        now = datetime.now(UTC)
        last = last_counting(installation.repository(source, destination, reader=True).proofs(VERB), now)
        if previous is not None and not is_due(last, every, now):
            figures = {"last_drill_epoch_seconds": last.timestamp()} if last else {}
            return Outcome(VERB, source, destination, run, snapshot, figures=figures)
        return replace(drill(installation, source, destination, snapshot, progress=progress), run=run)

    return run_step(self, blank, previous, work)

"""Read a snapshot back where it is stored, and leave the proof beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial, reduce
from typing import Any

import msgpack
from celery import Task, shared_task

from tasks.chosen import chosen_snapshot
from tasks.errors import Damaged
from tasks.installation import Installation
from tasks.outcome import Outcome, State
from tasks.parts import Parts
from tasks.progress import Progress, unheard
from tasks.repository import CheckReport, Damage, Proof, Repository, Scope, Snapshot
from tasks.repository.pack_check import Described, PacksRead, read_packs
from tasks.sharing import is_decided, share
from tasks.step import Work, run_step

MOST_PARTS = 16
"""Of what one verify reads."""
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
    reading: Callable[[Repository, list[Described]], PacksRead] | None = None,
) -> Outcome:
    """Check that every snapshot's lists are whole, read back what one snapshot (empty: the newest) added and a
    thirtieth of what is older, another one each day, or `everything`; and store a signed proof of what was found.
    Raises `Damaged`, after it has stored the bad proof, also of each other snapshot that suffers, condemned what is
    damaged, so that the next capture stores it again, and indexed anew the packs that only a damaged or lost index
    object named. Packs are read here, or where `reading` has them read."""
    installation.source(source)
    repository = installation.repository(source, destination, reader=True)
    chosen = chosen_snapshot(repository, snapshot, destination)
    now = datetime.now(UTC)
    scope = None if everything else Scope(chosen, now.toordinal() % ROUND, ROUND)
    shared = partial(reading, repository) if reading else None
    found = repository.check("content", scope, progress, reading=shared)
    looked_at = repository.readable_snapshots() if everything else [chosen]
    if not found.lacks_index:  # else the next one tells whether more than that is damaged
        _disprove(repository, found, now, but={each.id for each in looked_at})
    for each in looked_at:
        repository.prove(_proof(each, found, now, alone=not everything))
    repository.condemn_damaged(found.damaged_packs, now)
    indexed = repository.rebuild_index(now) if found.lacks_index else 0
    damage = list(
        dict.fromkeys(each.what if each.name in each.what else f"`{each.name}` {each.what}" for each in found.damage)
    )
    if damage:
        more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
        advice = "the next backup stores again what the source still has"
        if indexed:
            advice = f"{indexed} packs are indexed anew: verify again; of what is lost even so, {advice}"
        elif suffering := sorted(_suffering(found)):
            others = f" (and {len(suffering) - 1} more)" if len(suffering) > 1 else ""
            advice += (
                f", `mirror` brings what another destination has, and `prune {source} --forget ID` lets go what stays"
                f" damaged of {suffering[0]}{others}"
            )
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


def _disprove(repository: Repository, found: CheckReport, now: datetime, *, but: Collection[str]) -> None:
    """A bad proof for each snapshot that suffers, even one that can't be read, of which the last one by a verify is not
    bad: what was proven once must make room for nothing any more, and may be let go by name."""
    suffering = _suffering(found)
    proofs = repository.proofs() if suffering.keys() - but else {}
    for name in sorted(suffering.keys() - but):
        verified = [proof.good for proof in proofs.get(name, ()) if proof.verb == "verify"]
        if not verified or verified[-1]:
            findings = (f"snapshots/{name}: {suffering[name].what}",)
            repository.prove(Proof(name, "verify", now, False, "content", findings, dict(found.figures)))


def _suffering(found: CheckReport) -> dict[str, Damage]:
    """By the ids of snapshots."""
    return {
        name.removeprefix("snapshots/"): each for each in found.damage if (name := each.name).startswith("snapshots/")
    }


@shared_task(name="verify", bind=True, max_retries=None)
def verify_task(
    self: Task[Any, Any], previous: dict[str, Any] | None = None, *, source: str, destination: str, run: str
) -> dict[str, Any]:
    """`previous` is the outcome of the upload; without it, the newest snapshot is verified."""
    snapshot = previous["snapshot"] if previous else ""
    blank = Outcome("verify", source, destination, run, snapshot)

    def work(installation: Installation, progress: Progress) -> Outcome:
        def reading(repository: Repository, packs: list[Described]) -> PacksRead:
            portions = divided(packs, installation.settings.verify_part_size)
            if len(portions) < 2:
                return read_packs(repository, packs, progress)
            reads = _Reads(Parts(installation.record, repository.keys, source, run), destination)
            portions = reads.keep_portions(portions)
            blanks = [replace(blank, part=str(number + 1)) for number in range(len(portions))]
            share(self, verify_part_task, blanks, _part_work, progress=progress)
            known = {pack for portion in portions for pack in portion}
            # Whatever came since the packs were divided, if another worker did that.
            rest = read_packs(repository, [pack for pack in packs if pack not in known], progress)
            return reduce(PacksRead.with_, (reads.read(each.part) for each in blanks), rest)

        outcome = verify(installation, source, destination, snapshot, progress=progress, reading=reading)
        return replace(outcome, run=run)

    return run_step(self, blank, previous, work)


@shared_task(name="verify.part", bind=True, max_retries=None)
def verify_part_task(self: Task[Any, Any], *, source: str, destination: str, run: str, number: str) -> dict[str, Any]:
    """Some of the packs that a verify reads; sent by the task that divided them, for whoever is free."""
    blank = Outcome("verify", source, destination, run, part=number)
    return run_step(self, blank, None, _part_work(blank))


def _part_work(blank: Outcome) -> Work:
    def work(installation: Installation, progress: Progress) -> Outcome:
        if is_decided(blank):
            return replace(blank, state="skipped")
        repository = installation.repository(blank.source, blank.destination, reader=True)
        reads = _Reads(Parts(installation.record, repository.keys, blank.source, blank.run), blank.destination)
        found = read_packs(repository, reads.portions()[int(blank.part) - 1], progress)
        reads.keep(blank.part, found)
        figures: dict[str, float] = {
            "read_packs": found.packs,
            "read_bytes": found.size,
            "damaged_packs": len(found.damaged),
        }
        return replace(blank, figures=figures)

    return work


def divided(packs: list[Described], size: int) -> list[list[Described]]:
    """Packs in portions of about `size` bytes, and of about the same size."""
    count = min(math.ceil(sum(pack.size for pack in packs) / size), MOST_PARTS)
    portions: list[list[Described]] = [[] for _ in range(max(count, 1))]
    sizes = [0] * len(portions)
    for pack in sorted(packs, key=lambda pack: (-pack.size, pack.name)):
        least = sizes.index(min(sizes))
        portions[least].append(pack)
        sizes[least] += pack.size
    return [portion for portion in portions if portion]


class _Reads:
    """What the record keeps of a verify that several workers share: which packs each reads, and what it found."""

    def __init__(self, parts: Parts, destination: str) -> None:
        self._parts, self._place = parts, f"verify/{destination}"

    def keep_portions(self, portions: list[list[Described]]) -> list[list[Described]]:
        """The first that were kept count."""
        return _unpacked(self._parts.keep(self._place, bytes(msgpack.packb(portions))))

    def portions(self) -> list[list[Described]]:
        """Raises `Damaged`."""
        return _unpacked(self._parts.read(self._place) or b"")

    def keep(self, number: str, found: PacksRead) -> None:
        self._parts.keep(f"{self._place}/{number}", bytes(msgpack.packb(found)))

    def read(self, number: str) -> PacksRead:
        """Raises `Damaged`."""
        data = self._parts.read(f"{self._place}/{number}")
        if data is None:
            raise Damaged(f"what part {number} of this verify found is not in the record any more: verify again")
        packs, size, chunks, damaged = msgpack.unpackb(data, use_list=False)
        return PacksRead(packs, size, chunks, damaged)


def _unpacked(data: bytes) -> list[list[Described]]:
    try:
        return [[Described(*pack) for pack in portion] for portion in msgpack.unpackb(data)]
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise Damaged("which packs this verify reads is not in the record any more: verify again") from error

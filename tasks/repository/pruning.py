"""Prune: a plan that says what goes, and its execution, in the order that FORMAT.md promises."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from tasks.errors import Damaged, Locked, Missing
from tasks.repository.blocks import Blocks
from tasks.repository.condemned import Sentence, lift, put_sentence, sentences
from tasks.repository.index import Index
from tasks.repository.inventory import Inventory
from tasks.repository.locks import Locks, needed_indexes
from tasks.repository.pack import SealedPack, object_name
from tasks.repository.packing import MOST_CHUNKS_AN_INDEX, put_indexes
from tasks.repository.proof import delete_proofs
from tasks.repository.references import References
from tasks.repository.rewriting import rewrite
from tasks.repository.snapshot import Snapshot, is_ahead
from tasks.repository.stored_index import settled
from tasks.repository.successors import check_successors

REPACK_BELOW = 0.5
"""A pack of whose decoded bytes less than this part is used is rewritten."""

_MOST_INDEXES = 48
"""Small ones."""


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What a prune would do. `figures`: `forget` (snapshots), `condemn`, `delete`, `pardon`, `repack` (packs),
    `condemned_bytes`, `freed_bytes` (as stored); where objects are locked, `locked` (snapshots and packs that would go
    and can't yet: a later prune deletes them) and `renew` (objects whose lock is renewed). `seen`: snapshots listed."""

    repository: Inventory
    references: References = field(repr=False)
    index: Index = field(repr=False)
    now: datetime
    until: datetime
    seen: frozenset[str] = field(repr=False)
    forget: tuple[str, ...]
    condemn: frozenset[bytes]
    orphans: frozenset[bytes]
    delete: frozenset[bytes]
    pardon: frozenset[bytes]
    gone: frozenset[bytes]
    repack: tuple[bytes, ...]
    locks: Locks = field(repr=False)
    renew: tuple[str, ...] = ()
    replaced: frozenset[str] = frozenset()
    """Index objects that others have taken the place of, and that are still there, as they are locked or damaged."""
    figures: dict[str, float] = field(default_factory=dict)

    def apply(self, progress: Callable[[dict[str, float]], None] | None = None) -> dict[str, float]:
        """Do it. Killed anywhere, it leaves a whole repository, and the next prune goes on. Returns `figures`. Raises
        `Damaged` where what is to take the place of packs that would go is not what an index says, or where a snapshot
        that was listed meanwhile can't be followed; `NoSpace` where packs can't be rewritten, after all else."""
        repository = self.repository
        check_successors(repository, self.index, self.references.used, self.delete, now=self.now)
        # First: another prune at the same time may find other index objects dispensable than this one.
        self.locks.renew(self.renew, self.now)
        for snapshot in self.forget:
            # Proofs first: of a snapshot that is gone nobody would look for them again.
            delete_proofs(repository.destination, snapshot)
            _delete(repository, f"snapshots/{snapshot}")
        if self.condemn or self.orphans:
            put_sentence(
                repository.destination, repository.keys, self.now, self.until, packs=self.condemn, orphans=self.orphans
            )
        # Another prune at the same time may put index objects into others while they are read.
        delete = settled(lambda: _still_to_go(self), repository.source)
        settled(lambda: _rewrite_indexes(self, delete), repository.source)
        for pack in sorted(delete):
            _delete(repository, object_name(pack))
        lift(repository.destination, repository.keys, self.delete | self.pardon | self.gone)
        # Last, as it takes room, of which there may be none before.
        if self.repack:
            used = self.references.used
            rewrite(repository, self.index, used, self.repack, progress=progress, undo=partial(_undo, self))
            put_sentence(repository.destination, repository.keys, self.now, self.until, packs=self.repack)
        return dict(self.figures)


def plan_prune(repository: Inventory, forget: Collection[str], now: datetime, grace: timedelta) -> PrunePlan:
    """Look, and change nothing. Raises `Damaged` where a kept snapshot can't be followed: then nothing may go."""
    # In this order: whatever a snapshot that is seen relies on is seen too.
    ids, locks = repository.snapshot_ids(), repository.locks()
    kept = [repository.snapshot(name) for name in ids if name not in set(forget)]
    # As long as they are listed, what they need stays as well, but is not locked anew.
    leaving = {name for name in forget if locks.hold(f"snapshots/{name}", now)}
    terms = sentences(repository.destination, repository.keys)
    damaged = frozenset().union(*(term.damaged for term in terms))
    dispensable = frozenset[str]()
    try:
        index = repository.whole_index(strict=True)
    except Damaged:
        dispensable = _dispensable(repository, damaged)
        index = repository.whole_index(strict=True, without=dispensable)
    listed = repository.listed_packs()
    references = _followed(repository, index, kept)
    needed = references.used.copy()
    references.follow(snapshot for snapshot in repository.readable_snapshots() if snapshot.id in leaving)
    used, raw = index.used_bytes(references.used), index.raw_bytes()
    lasting = index.used_bytes(needed) if locks else used
    since = _last_day(terms, now, grace, orphans=False)
    condemn, delete, pardon, repack = set(), set(), set(), list[bytes]()
    for number, pack in enumerate(index.packs):
        if used[number] == 0:
            # A former orphan counts anew: since it has an index, captures rely on it.
            if locks and pack.name not in listed:
                continue  # gone, and named by an index object that is locked
            if pack.name not in since:
                condemn.add(pack.name)
            elif now >= since[pack.name]:
                delete.add(pack.name)
        elif pack.name in damaged:
            continue
        elif listed.get(pack.name) != pack.size:
            raise Damaged(f"nothing is pruned while `{object_name(pack.name)}` is not whole: run `verify` first")
        elif any(pack.name in term.packs | term.orphans for term in terms):
            pardon.add(pack.name)
        elif used[number] < REPACK_BELOW * raw[number]:
            repack.append(pack.name)
    unnamed = listed.keys() - {pack.name for pack in index.packs}
    since = _last_day(terms, now, grace, orphans=True)
    delete |= {pack for pack in unnamed if pack in since and now >= since[pack]}
    locked = {pack for pack in delete if locks.hold(object_name(pack), now)}
    delete -= locked
    renew, replaced = _lasting(repository, locks, [snapshot.id for snapshot in kept], listed, without=dispensable)
    renew += [
        object_name(pack.name)
        for number, pack in enumerate(index.packs)
        if locks and lasting[number] and pack.name not in damaged and pack.name not in repack
    ]
    due = locks.due(renew, now)
    figures = {
        "forget": len(set(forget) - leaving),
        "condemn": len(condemn) + len(repack),
        "pardon": len(pardon),
        "repack": len(repack),
        "delete": len(delete),
        "condemned_bytes": sum(listed.get(pack, 0) for pack in condemn),
        "freed_bytes": sum(listed.get(pack, 0) for pack in delete),
        "locked": len(leaving) + len(locked),
        "renew": len(due),
    }
    return PrunePlan(
        repository=repository,
        references=references,
        index=index,
        now=now,
        until=now + grace,
        seen=frozenset(ids),
        forget=tuple(sorted(set(forget) - leaving)),
        condemn=frozenset(condemn),
        orphans=frozenset(unnamed - since.keys()),
        delete=frozenset(delete),
        pardon=frozenset(pardon),
        gone=frozenset().union(*(term.packs | term.orphans | term.damaged for term in terms))
        - listed.keys()
        - {pack.name for pack in index.packs},
        repack=tuple(repack),
        locks=locks,
        renew=due,
        replaced=dispensable | replaced,
        figures={name: float(value) for name, value in figures.items()},
    )


def _dispensable(repository: Inventory, damaged: Collection[bytes]) -> frozenset[str]:
    """Index objects that are damaged, where others name all packs that are there: nothing is lost with them. Raises
    `Damaged` where one may be all that tells what lies in some pack."""
    there = repository.listed_packs().keys() - damaged
    broken = frozenset(repository.damaged_indexes())
    if broken:
        named = {pack.name for _, packs in repository.index_objects(without=broken) for pack in packs}
        if left := len(there - named):
            raise Damaged(
                f"nothing is pruned while `{min(broken)}` is damaged, which may name {left} packs that nothing else"
                " does: run `verify` first, which names them anew"
            )
    return broken


def _lasting(
    repository: Inventory, locks: Locks, kept: list[str], listed: Collection[bytes], *, without: Collection[str]
) -> tuple[list[str], set[str]]:
    """What must stay locked beside the packs, and the index objects that need not."""
    if not locks:
        return [], set()
    objects = repository.index_objects(without=without)
    named = {origin: {pack.name for pack in packs} for origin, packs in objects}
    needed = needed_indexes(named, listed)
    names = ["repository", f"keys/{repository.writer.keyring}", *(f"snapshots/{name}" for name in kept)]
    return [*names, *sorted(needed)], named.keys() - needed


def _last_day(terms: list[Sentence], now: datetime, grace: timedelta, *, orphans: bool) -> dict[bytes, datetime]:
    """From when on each condemned pack may be deleted: what its list promised, and not before `grace` is over. A list
    dated ahead, by a clock that was wrong, says nothing: its packs are condemned anew."""
    days: dict[bytes, datetime] = {}
    for term in (term for term in terms if not is_ahead(term.at, now)):
        day = max(term.until, term.at + grace)
        for pack in term.packs | term.damaged | (term.orphans if orphans else frozenset()):
            days[pack] = max(days.get(pack, day), day)
    return days


def _still_to_go(plan: PrunePlan) -> set[bytes]:
    """Of the packs that were to be deleted; hours may have gone by since. What is condemned no more, or anew, was
    deleted by another prune, and may have come again since; and an orphan that an index names by now may be relied on.
    And a host whose clock is behind may have listed what relies on packs that were to go."""
    repository, grace = plan.repository, plan.until - plan.now
    destination, keys = repository.destination, repository.keys
    days = _last_day(sentences(destination, keys), plan.now, grace, orphans=True) if plan.delete else {}
    delete = {pack for pack in plan.delete if pack in days and days[pack] <= plan.now}
    orphans = {pack for pack in delete if pack not in plan.index}
    delete -= _named(plan, orphans)
    if delete and (ids := set(repository.snapshot_ids()) - plan.seen):
        new = [repository.snapshot(name) for name in sorted(ids)]
        index = repository.whole_index(strict=True, without=plan.replaced)
        used = index.used_bytes(_followed(repository, index, new).used)
        delete -= {pack.name for pack, size in zip(index.packs, used, strict=True) if size}
    return delete


def _named(plan: PrunePlan, orphans: Collection[bytes]) -> set[bytes]:
    """Those of them that an index names even so. First they are condemned: whoever names one from now on finds out
    before it lists anything."""
    if not orphans:
        return set()
    repository, grace = plan.repository, plan.until - plan.now
    put_sentence(repository.destination, repository.keys, plan.now - grace, plan.now, packs=orphans)
    objects = repository.index_objects(without=plan.replaced)
    return set(orphans) & {pack.name for _, packs in objects for pack in packs}


def _followed(repository: Inventory, index: Index, snapshots: Iterable[Snapshot]) -> References:
    """Raises `Damaged` where one can't be followed to its end: it may need any pack."""
    references = References(Blocks(repository.destination, index, repository.keys)).follow(snapshots)
    for snapshot, findings in references.findings.items():
        raise Damaged(f"nothing is pruned while snapshot `{snapshot}` is damaged ({findings[0]}): run `verify` first")
    return references


def _undo(plan: PrunePlan, packs: Collection[bytes]) -> None:
    """Delete what this prune has just stored, but for what an index names already."""
    repository = plan.repository
    for pack in sorted(set(packs) - _named(plan, packs)):
        _delete(repository, object_name(pack))
    lift(repository.destination, repository.keys, packs)


def _rewrite_indexes(plan: PrunePlan, gone: Collection[bytes]) -> None:
    """Drop packs that are to be `gone` from the index, and merge many small index objects. New ones first, then the old
    ones go, unless they are locked: then a later prune finds that they are needed no more."""
    repository = plan.repository
    small, old = list[str](), list[str]()
    for origin, packs in repository.index_objects(without=plan.replaced):
        chunks, named_gone = 0, False
        for pack in packs:
            chunks += len(pack.listed.lengths)
            named_gone = named_gone or pack.name in gone
        if named_gone:
            old.append(origin)
        elif chunks < MOST_CHUNKS_AN_INDEX // 2:
            small.append(origin)
    if len(small) > _MOST_INDEXES:
        old += small
    put_indexes(repository.destination, repository.keys, _remaining(repository, old, gone))
    for origin in [*old, *sorted(plan.replaced)]:
        if not plan.locks.hold(origin, plan.now):
            _delete(repository, origin)


def _remaining(repository: Inventory, origins: Iterable[str], gone: Collection[bytes]) -> Iterator[SealedPack]:
    """What these index objects name, each pack once, but for those that are `gone`."""
    seen = set(gone)
    for origin in origins:
        for pack in repository.packs_of(origin):
            if pack.name not in seen:
                seen.add(pack.name)
                yield pack


def _delete(repository: Inventory, name: str) -> None:
    # Missing: an earlier prune was killed right after it. Locked: by somebody else meanwhile; it goes later.
    with suppress(Missing, Locked):
        repository.destination.delete(name)

"""Making another destination hold a snapshot: packs, their index, and then the snapshot. Needs no private key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from tasks.errors import Condemned, Damaged, Missing, NewerFormat, NotFound, Unavailable
from tasks.numbers import SLICE, Numbers, distinct, numpy
from tasks.repository import reliance
from tasks.repository.blocks import Blocks
from tasks.repository.condemned import doomed_packs, doubts
from tasks.repository.flights import fly
from tasks.repository.handing_on import hand_on_index, is_durable, landing, list_snapshot, put_pack
from tasks.repository.healing import heal
from tasks.repository.index import Index, IndexedPack
from tasks.repository.inventory import Inventory
from tasks.repository.pack import object_name
from tasks.repository.packing import put_indexes
from tasks.repository.references import References
from tasks.repository.snapshot import Snapshot
from tasks.repository.stored_index import settled

Progress = Callable[[dict[str, float]], None]


class _Whole(NamedTuple):
    """What lies in the packs of both, for who walks a list."""

    here: Index
    there: Index
    blocks: Blocks


class Copying:
    """From one repository to another: what both are known to hold is read once, for any number of snapshots. What a
    verify found damaged over there is replaced first, as far as it is whole here. Raises `Damaged`, `Unavailable`."""

    def __init__(self, here: Inventory, to: Inventory, progress: Progress | None = None) -> None:
        self._here, self._to, self._progress = here, to, progress
        self._left_before = frozenset[bytes]()
        self._look()

    def _look(self) -> None:
        """At what both hold."""
        here, to = self._here, self._to
        # Names alone: what lies in the packs is asked where a list must be walked.
        self._index = here.sound_index(names=True)
        self._whole: _Whole | None = None
        heal(here, to, self._index)
        self._doomed, left = doomed_packs(to.destination, to.keys, to.clock())
        self._left_before |= left
        self._packs_there = {pack.name for pack in to.sound_index(without=self._doomed, names=True).packs}
        self._sizes = to.listed_packs()

    def bring(self, snapshot_id: str) -> dict[str, float]:
        """Packs, several at once; then the index that names them; then the snapshot. Idempotent: what is there is not
        sent again. Returns `packs`, `sent_bytes`. Raises `Damaged`, and `Condemned` where chunks are only in packs that
        a prune may delete soon: the source must be captured again."""

        def bring() -> dict[str, float]:
            try:
                return self._bring(snapshot_id)
            except Missing:  # a prune here has put index objects, or what lies in packs, into others
                self._look()
                raise

        return settled(bring, self._here.source)

    def _bring(self, snapshot_id: str) -> dict[str, float]:
        here, to = self._here, self._to
        snapshot = here.snapshot(snapshot_id)
        seen = self._at_a_glance(snapshot)
        wanted, relied = seen or self._looked_through(snapshot)
        sent = self._send(wanted)
        # The last look: whoever condemns a pack from now on, or comes to delete one that was condemned lately, will see
        # this snapshot.
        doomed, orphans = doomed_packs(to.destination, to.keys, to.clock())
        if seen and doomed & (relied | wanted):
            # Perhaps none that it needs.
            relied = set[bytes]().union(*self._looked_through(snapshot))
        if needed := doomed & (relied | wanted):
            raise _gone(to, needed, snapshot_id)
        if (orphans | self._left_before) & wanted or not to.listed_packs().keys() >= relied | wanted:
            # They have an index now, so that a prune that begins from now on leaves them alone.
            raise Unavailable(f"a prune may be deleting what an earlier copy of `{snapshot_id}` had left; try again")
        list_snapshot(snapshot_id, here, to)
        return {"packs": len(wanted), "sent_bytes": sent}

    def mend(self, snapshot_ids: Iterable[str]) -> dict[str, float]:
        """Of snapshots that are over there already: send the packs that they need and that were lost there since, or
        found damaged. Returns what `bring` does. Raises `Damaged` where some stay damaged there."""
        whole, snapshots = self._both(), map(self._readable, snapshot_ids)
        used = References(whole.blocks).follow(filter(None, snapshots)).used
        lacking, _ = self._sort_out(whole, used)
        wanted = lacking - self._doomed
        sent = self._send(wanted)
        for pack in doubts(self._to.destination, self._to.keys).damaged & lacking:
            raise Damaged(
                f"`{object_name(pack)}` stays damaged over there: it is damaged here too, or may not be deleted there"
            )
        return {"packs": len(wanted), "sent_bytes": sent}

    def _readable(self, snapshot_id: str) -> Snapshot | None:
        with suppress(Damaged, NewerFormat, NotFound):  # the last: it was let go meanwhile
            return self._here.snapshot(snapshot_id)
        return None

    def _at_a_glance(self, snapshot: Snapshot) -> tuple[set[bytes], set[bytes]] | None:
        """The packs to send, and those over there that the snapshot may rely on; None where only its list tells, as
        something that was there when it was captured is not over there, or not for long."""
        known = reliance.noted(self._here.destination, self._here.keys, snapshot)
        if known is None:
            return None
        new = set(map(bytes.fromhex, snapshot.packs))
        wanted = new - self._packs_there
        if not known - new <= self._packs_there or not all(pack in self._index for pack in wanted):
            return None
        return wanted, new.union(known) - wanted

    def _looked_through(self, snapshot: Snapshot) -> tuple[set[bytes], set[bytes]]:
        """The same, of exactly those that it relies on."""
        whole = self._both()
        references = References(whole.blocks).follow([snapshot])
        if references.findings:
            raise Condemned(f"snapshot `{snapshot.id}` relies on chunks that were lost meanwhile; back up again")
        return self._sort_out(whole, references.used)

    def _both(self) -> _Whole:
        whole = self._whole
        if whole is None:
            index = self._here.sound_index()
            # What both hold is held once: that a pack is there says which chunks are.
            there = self._to.sound_index(without=self._doomed, known=index)
            whole = self._whole = _Whole(index, there, Blocks(self._here.destination, index, self._here.keys))
            self._index = index
        return whole

    def _sort_out(self, whole: _Whole, used: Numbers) -> tuple[set[bytes], set[bytes]]:
        index, there = whole.here, whole.there
        has = numpy.array([pack.name in self._packs_there for pack in index.packs], bool)
        missing, relied = set[bytes](), set[bytes]()
        for at in range(0, len(used), SLICE):
            rows = numpy.flatnonzero(used[at : at + SLICE]) + at
            shared, left = _divided(index, has, rows)
            elsewhere = there.rows(index.names(left))
            relied |= _names(index, shared) | _names(there, elsewhere[elsewhere >= 0])
            missing |= _names(index, left[elsewhere < 0])
        return missing, relied

    def _send(self, wanted: set[bytes]) -> int:
        """Each index object follows as soon as all that is wanted of its packs is there, so that a long copy that is
        cut off goes on from there. Returns bytes."""
        index, done, sent = self._index, 0, 0
        packs = sorted((index.pack(pack) for pack in wanted), key=lambda pack: (pack.origin, pack.name))
        # All of them first: one that can't be read must not be noticed after hours of sending.
        objects = {
            origin: [pack.name for pack in self._here.packs_of(origin)] for origin in {pack.origin for pack in packs}
        }
        total, left = sum(pack.size for pack in packs), Counter(pack.origin for pack in packs)

        def send(pack: IndexedPack) -> bool:
            # What is listed was sent before: by a copy that was cut off, or by a capture that needed the room.
            if self._sizes.get(pack.name) == pack.size and is_durable(self._to.destination, object_name(pack.name)):
                return False
            put_pack(pack, self._here, self._to, scratch)
            return True

        def landed(pack: IndexedPack, was_sent: bool) -> None:
            nonlocal done, sent
            done += pack.size
            sent += pack.size * was_sent
            left[pack.origin] -= 1
            if not left[pack.origin]:
                self._name_there(pack.origin, objects.pop(pack.origin), wanted)

        def look() -> None:
            if self._progress:
                self._progress({"done_bytes": done, "total_bytes": total, "items": 0})

        with landing(self._here) as scratch:
            fly(send, packs, landed, look)
        return sent

    def _name_there(self, origin: str, named: list[bytes], wanted: set[bytes]) -> None:
        # Of a pack that two index objects name, only one of them says that it is there now.
        chosen = {name for name in named if name in wanted and self._index.pack(name).origin == origin}
        if len(chosen) < len(named) or not hand_on_index(origin, self._here, self._to):
            packs = (pack for pack in self._here.packs_of(origin) if pack.name in chosen)
            put_indexes(self._to.destination, self._to.keys, packs)
        self._packs_there |= chosen


def copy(here: Inventory, snapshot_id: str, to: Inventory, progress: Progress | None = None) -> dict[str, float]:
    """One snapshot, as `Copying.bring` does; where it is listed already, nothing is read or sent."""
    if snapshot_id in to.snapshot_ids():
        return {"packs": 0, "sent_bytes": 0}
    return Copying(here, to, progress).bring(snapshot_id)


def _divided(index: Index, has: Numbers, rows: Numbers) -> tuple[Numbers, Numbers]:
    """Places of the chunks in these rows in packs that `has`, by number, and the rows whose chunks are in none."""
    found, lost = [], []
    place = rows
    while len(rows):
        there = has[index.packs_of(place)]
        found.append(place[there])
        rows, place = rows[~there], index.again(place[~there])
        lost.append(rows[place < 0])
        rows, place = rows[place >= 0], place[place >= 0]
    nothing = rows[:0]
    return numpy.concatenate([nothing, *found]), numpy.concatenate([nothing, *lost])


def _names(index: Index, rows: Numbers) -> set[bytes]:
    """The packs that these rows are of."""
    return {index.packs[number].name for number in distinct(index.packs_of(rows)).tolist()}


def _gone(to: Inventory, needed: frozenset[bytes], snapshot: str) -> Condemned:
    """What to do about packs that a snapshot needs and that nothing may rely on."""
    if damaged := needed & doubts(to.destination, to.keys).damaged:
        return Condemned(
            f"`{object_name(min(damaged))}`, which snapshot `{snapshot}` relies on, is damaged there and was not"
            " replaced: where these credentials may not delete, prune there: that replaces it by what another"
            " destination has; else back up again"
        )
    return Condemned(f"a prune condemned packs that snapshot `{snapshot}` relies on; prune, and back up again")

"""A repository: one source's history at one destination. FORMAT.md says what is stored; this is the way in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta

from tasks.repository import proof as proving
from tasks.repository.blocks import Blocks
from tasks.repository.capturing import Capturing
from tasks.repository.check import CheckReport, Depth, Reading, Scope, check
from tasks.repository.condemned import doubts, put_sentence
from tasks.repository.copying import copy
from tasks.repository.proof import Proof
from tasks.repository.pruning import PrunePlan, plan_prune
from tasks.repository.reading import Items
from tasks.repository.reindexing import rebuild_index
from tasks.repository.saving import Progress
from tasks.repository.snapshot import Snapshot


class Repository(Capturing):
    """Safe to throw away at any moment: everything it knows is at its destination. `open` or `create_or_open` one."""

    def read(self, snapshot: Snapshot) -> Items:
        """The snapshot's items. Also reads what lies in condemned packs, as long as it is there."""
        return next(self.read_each([snapshot]))

    def read_each(self, snapshots: Iterable[Snapshot]) -> Iterator[Items]:
        """The same of many: the index, of which each night has left a part, is read once for all of them."""
        blocks = Blocks(self.destination, self.whole_index(), self.keys, answers=self.answers)
        for snapshot in snapshots:
            yield Items(blocks, snapshot.level, bytes.fromhex(snapshot.content))

    def check(
        self,
        depth: Depth = "items",
        scope: Scope | None = None,
        progress: Progress | None = None,
        *,
        reading: Reading | None = None,
    ) -> CheckReport:
        """See `tasks.repository.check.check`."""
        return check(self, depth, scope, progress, reading=reading)

    def plan_prune(self, forget: Collection[str], now: datetime, grace: timedelta) -> PrunePlan:
        """See `tasks.repository.pruning.plan_prune`."""
        return plan_prune(self, forget, now, grace)

    def condemn_damaged(self, packs: Collection[bytes], now: datetime) -> None:
        """From now on no capture relies on these packs: what they held is stored again, where it is still to be had."""
        new = set(packs) - doubts(self.destination, self.keys).damaged
        if new:
            put_sentence(self.destination, self.keys, now, now, damaged=new)

    def rebuild_index(self, now: datetime) -> int:
        """Index anew what no sound index object names. Returns how many packs that are. Those that can't be any more
        are condemned as damaged."""
        count, unreadable = rebuild_index(self)
        self.condemn_damaged(unreadable, now)
        return count

    def copy(self, snapshot_id: str, to: Repository, progress: Progress | None = None) -> dict[str, float]:
        return copy(self, snapshot_id, to, progress)

    def prove(self, proof: Proof) -> None:
        proving.put_proof(self.destination, self.keys, proof, self.clock())

    def proofs(self, verb: str = "") -> dict[str, list[Proof]]:
        return proving.proofs(self.destination, self.keys, self.clock(), verb)

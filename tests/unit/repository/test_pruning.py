"""Prune: what nothing needs goes, in two passes; what anything needs stays, whatever runs beside it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tasks.destinations import Data, Destination, Listed
from tasks.errors import BackupError, Condemned
from tasks.repository import Proof, Repository, Snapshot
from tasks.repository.pack import object_name
from tests.memory_source import File, MemoryCapture
from tests.repositories import START, about, create, keys, local, packs, restored, save, stored_bytes

MIB = 1 << 20
DAY = timedelta(days=1)
GRACE = 3 * DAY
Files = Mapping[bytes, File | bytes]


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


FIRST = {b"a": noise(1, 300_000), b"b": noise(2, 200_000)}
SECOND = {b"a": noise(1, 300_000), b"c": noise(3, 200_000)}


def prune(
    repository: Repository, *forget: Snapshot, now: datetime = START, grace: timedelta = GRACE
) -> dict[str, float]:
    """At that time, which is the repository's own from then on."""
    repository.clock = lambda: now
    return repository.plan_prune([snapshot.id for snapshot in forget], now, grace).apply()


def condemned(repository: Repository) -> list[str]:
    return [listed.name for listed in repository.destination.list("condemned/")]


def assert_whole(repository: Repository, kept: Mapping[str, Files]) -> None:
    """The kept snapshots and no others are listed, and each is restored byte for byte."""
    report = repository.check("content")
    assert report.good, report.damage
    assert set(repository.snapshot_ids()) == set(kept)
    for snapshot in repository.snapshots():
        assert restored(repository, snapshot) == kept[snapshot.id]


def test_a_plan_changes_nothing_and_says_what_it_would_do(repository: Repository) -> None:
    first, second = save(repository, FIRST, 0), save(repository, SECOND, 1)
    before = [(listed.name, listed.size) for listed in repository.destination.list()]
    plan = repository.plan_prune([first.id], START, GRACE)
    assert [(listed.name, listed.size) for listed in repository.destination.list()] == before
    assert plan.forget == (first.id,)
    assert plan.figures["forget"] == 1
    assert plan.figures["delete"] == plan.figures["freed_bytes"] == 0
    assert plan.figures["condemn"] > 0
    assert_whole(repository, {first.id: FIRST, second.id: SECOND})


def test_pruning_with_nothing_to_let_go_changes_nothing(repository: Repository) -> None:
    save(repository, FIRST, 0)
    before = list(repository.destination.list())
    figures = prune(repository)
    assert list(repository.destination.list()) == before
    assert not any(figures.values())


def test_what_only_a_forgotten_snapshot_needed_goes_after_the_grace_period(repository: Repository) -> None:
    first, second = save(repository, FIRST, 0), save(repository, {b"z": b"z"}, 1)
    full = stored_bytes(repository.destination)
    prune(repository, first)
    assert_whole(repository, {second.id: {b"z": b"z"}})
    assert stored_bytes(repository.destination) > 500_000
    prune(repository, now=START + GRACE - timedelta(seconds=1))
    assert stored_bytes(repository.destination) > 500_000, "not a second too early"
    figures = prune(repository, now=START + GRACE)
    assert figures["delete"] > 0
    assert figures["freed_bytes"] > 500_000
    assert stored_bytes(repository.destination) < full - 500_000
    assert condemned(repository) == []
    assert_whole(repository, {second.id: {b"z": b"z"}})
    assert not any(prune(repository, now=START + 9 * GRACE).values())


def test_everything_may_be_let_go(repository: Repository) -> None:
    snapshots = [save(repository, files, night) for night, files in enumerate([FIRST, SECOND])]
    prune(repository, *snapshots)
    prune(repository, now=START + GRACE)
    assert packs(repository) == repository.index_names() == condemned(repository) == []
    third = save(repository, FIRST, 2)
    assert_whole(repository, {third.id: FIRST})


def test_a_clock_that_runs_backwards_deletes_nothing(repository: Repository) -> None:
    first, second = save(repository, FIRST, 0), save(repository, {b"z": b"z"}, 1)
    prune(repository, first, now=START + 30 * DAY)
    before = packs(repository)
    prune(repository, now=START)
    assert packs(repository) == before
    assert_whole(repository, {second.id: {b"z": b"z"}})


def test_proofs_go_with_their_snapshot(repository: Repository) -> None:
    first, second = save(repository, FIRST, 0), save(repository, SECOND, 1)
    for snapshot in (first, second):
        repository.prove(Proof(snapshot.id, "verify", START, good=True))
    prune(repository, first)
    assert list(repository.proofs()) == [second.id]


def test_a_condemned_pack_is_not_relied_on(repository: Repository) -> None:
    first, second = save(repository, FIRST, 0), save(repository, {b"z": b"z"}, 1)
    prune(repository, first)
    third = save(repository, FIRST, 2)
    assert third.figures["new_bytes"] == 500_000
    prune(repository, now=START + GRACE)
    assert_whole(repository, {second.id: {b"z": b"z"}, third.id: FIRST})


def test_a_pack_that_came_into_use_again_is_pardoned(repository: Repository) -> None:
    """A capture that began before the packs were condemned still relies on them."""
    first, second = save(repository, FIRST, 0), save(repository, {b"z": b"z"}, 1)

    def beside(path: bytes) -> None:
        if path == b"b":
            prune(repository, first)

    third = save(repository, FIRST, 2, before=beside)
    assert third.figures["new_bytes"] == 0
    figures = prune(repository, now=START + GRACE)
    assert figures["pardon"] > 0
    assert_whole(repository, {second.id: {b"z": b"z"}, third.id: FIRST})
    fourth = save(repository, FIRST, 3)
    assert fourth.figures["new_bytes"] == 0, "it may be relied on again"


def test_a_capture_that_outlives_the_grace_period_is_not_listed(repository: Repository) -> None:
    first, second = save(repository, FIRST, 0), save(repository, {b"z": b"z"}, 1)

    def beside(path: bytes) -> None:
        if path == b"b":
            prune(repository, first)
            prune(repository, now=START + GRACE)

    with pytest.raises(Condemned):
        save(repository, FIRST, 2, before=beside)
    assert_whole(repository, {second.id: {b"z": b"z"}})
    third = save(repository, FIRST, 3)
    assert_whole(repository, {second.id: {b"z": b"z"}, third.id: FIRST})


def test_sparsely_used_packs_are_rewritten_and_shrink(repository: Repository) -> None:
    many = {b"%02d" % at: noise(at, 300_000) for at in range(20)}
    few = {path: many[path] for path in (b"03", b"11", b"17")}
    first, second = save(repository, many, 0), save(repository, few, 1)
    assert second.figures["new_bytes"] == 0
    figures = prune(repository, first)
    assert figures["repack"] > 0
    assert_whole(repository, {second.id: few})
    prune(repository, now=START + GRACE)
    assert stored_bytes(repository.destination) < 1_100_000
    assert_whole(repository, {second.id: few})
    third = save(repository, few, 2)
    assert third.figures["new_bytes"] == 0
    assert not prune(repository, now=START + 2 * GRACE)["repack"], "nothing is rewritten for ever"


def test_a_pack_that_is_mostly_used_is_left_alone(repository: Repository) -> None:
    many = {b"%02d" % at: noise(at, 300_000) for at in range(10)}
    most = {path: many[path] for path in list(many)[:7]}
    first, second = save(repository, many, 0), save(repository, most, 1)
    plan = repository.plan_prune([first.id], START, GRACE)
    assert {repository.destination.get(object_name(pack), 4, 1) for pack in plan.repack} <= {b"L"}
    plan.apply()
    assert_whole(repository, {second.id: most})


def test_many_index_objects_become_few(repository: Repository) -> None:
    kept: dict[str, Files] = {}
    for night in range(52):
        files = {b"a": noise(night, 50)}
        kept[save(repository, files, night).id] = files
    assert len(repository.index_names()) == 52
    prune(repository)
    assert len(repository.index_names()) == 1
    assert_whole(repository, kept)


class Cut(Exception):
    """Stands for a kill: nobody in between catches it."""


class Cutting:
    """A destination that is cut off right before its n-th operation of any kind."""

    def __init__(self, inner: Destination, number: int) -> None:
        self._inner, self.left = inner, number

    def put(self, name: str, data: Data) -> None:
        self._count()
        self._inner.put(name, data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self._count()
        return self._inner.get(name, offset, length)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        self._count()
        return self._inner.list(prefix)

    def delete(self, name: str) -> None:
        self._count()
        self._inner.delete(name)

    def _count(self) -> None:
        if not self.left:
            raise Cut
        self.left -= 1


def eventful(folder: Path) -> tuple[Repository, dict[str, Files], list[str]]:
    """A repository whose next prune has everything to do: forget, repack, condemn, delete, pardon and orphans."""
    repository = create(local(folder))
    many = {b"%02d" % at: noise(at, 30_000) for at in range(20)}
    few = {path: many[path] for path in (b"03", b"11")}
    first, second = save(repository, FIRST, 0), save(repository, {b"long": b"gone"}, 1)
    prune(repository, second, now=START - 2 * GRACE)
    late, kept = save(repository, many, 2), save(repository, few, 3)
    repository.prove(Proof(late.id, "verify", START, good=True))

    def beside(path: bytes) -> None:
        if path == b"b":
            repository.plan_prune([first.id], START - DAY, 9 * GRACE).apply()

    again = save(repository, FIRST, 4, before=beside)
    with pytest.raises(Cut):
        save(repository, {b"x": noise(8, 100_000)}, 5, into=Failing(repository.destination, "index/"))
    plan = repository.plan_prune([late.id], START, GRACE)
    assert all(plan.figures[what] for what in ("forget", "condemn", "repack", "delete", "pardon")), plan.figures
    assert plan.orphans
    return repository, {kept.id: few, again.id: FIRST}, [late.id]


class Failing(Cutting):
    """Cut off at the first put of a name with that prefix."""

    def __init__(self, inner: Destination, prefix: str) -> None:
        super().__init__(inner, -1)
        self._prefix = prefix

    def put(self, name: str, data: Data) -> None:
        if name.startswith(self._prefix):
            raise Cut
        super().put(name, data)


def test_a_prune_that_is_killed_anywhere_leaves_everything_whole_and_the_next_goes_on(fast_path: Path) -> None:
    import shutil

    _, kept, forget = eventful(fast_path / "original")
    for number in range(10_000):
        folder = fast_path / "copy"
        shutil.copytree(fast_path / "original", folder)
        repository = Repository.open(local(folder), keys().reader)
        cutting = Cutting(repository.destination, 1 << 30)
        plan = Repository.open(cutting, keys().reader).plan_prune(forget, START, GRACE)
        cutting.left = number
        try:
            plan.apply()
            finished = True
        except Cut:
            finished = False
        left = set(repository.snapshot_ids()) - set(kept)
        assert repository.check("content").good, f"killed before operation {number}"
        for snapshot in repository.snapshots():
            if snapshot.id in kept:
                assert restored(repository, snapshot) == kept[snapshot.id]
        repository.plan_prune(left, START, GRACE).apply()
        for later in (1, 2):
            repository.plan_prune([], START + later * GRACE, GRACE).apply()
        assert_whole(repository, kept)
        assert condemned(repository) == []
        assert repository.check("listing").figures["orphan_packs"] == 0
        assert repository.plan_prune([], START + 9 * GRACE, GRACE).figures["condemn"] == 0
        shutil.rmtree(folder)
        if finished:
            break
    assert number > 20


def test_two_prunes_at_once_do_no_harm(fast_path: Path) -> None:
    repository, kept, forget = eventful(fast_path / "a")
    plans = [repository.plan_prune(forget, START, GRACE) for _ in range(2)]
    for plan in plans:
        plan.apply()
    assert_whole(repository, kept)
    for later in (1, 2, 3):
        prune(repository, now=START + later * GRACE)
        assert_whole(repository, kept)
    assert condemned(repository) == []


def test_a_prune_that_waits_between_plan_and_apply_does_no_harm(repository: Repository) -> None:
    first, second = save(repository, FIRST, 0), save(repository, {b"z": b"z"}, 1)
    plan = repository.plan_prune([first.id], START, GRACE)
    third = save(repository, FIRST, 2)
    assert third.figures["new_bytes"] == 0
    plan.apply()
    prune(repository, now=START + GRACE)
    assert_whole(repository, {second.id: {b"z": b"z"}, third.id: FIRST})


def test_orphans_of_a_killed_capture_go_after_the_grace_period(repository: Repository) -> None:
    first = save(repository, {b"z": b"z"}, 0)
    with pytest.raises(Cut):
        save(repository, FIRST, 1, into=Failing(repository.destination, "index/"))
    assert repository.check("content").figures["orphan_packs"] > 0
    prune(repository)
    prune(repository, now=START + GRACE - timedelta(seconds=1))
    assert repository.check("content").figures["orphan_packs"] > 0
    prune(repository, now=START + GRACE)
    assert repository.check("content").figures["orphan_packs"] == 0
    assert condemned(repository) == []
    assert_whole(repository, {first.id: {b"z": b"z"}})


def test_a_capture_under_way_loses_no_pack_that_a_prune_took_for_an_orphan(repository: Repository) -> None:
    class Pruned(Failing):
        def put(self, name: str, data: Data) -> None:
            if name.startswith("index/"):
                assert prune(repository)["condemn"] == 0
            self._inner.put(name, data)

    first = save(repository, {b"z": b"z"}, 0)
    second = save(repository, FIRST, 1, into=Pruned(repository.destination, "index/"))
    for later in (1, 2):
        prune(repository, now=START + later * GRACE)
        assert_whole(repository, {first.id: {b"z": b"z"}, second.id: FIRST})
    assert condemned(repository) == []


def test_a_former_orphan_is_condemned_anew_before_it_goes(repository: Repository) -> None:
    """Once an index names it captures rely on it: its time as an orphan must not count."""

    class Pruned(Failing):
        def put(self, name: str, data: Data) -> None:
            if name.startswith("index/"):
                prune(repository)
            if name.startswith("snapshots/"):
                raise Cut
            self._inner.put(name, data)

    first = save(repository, {b"z": b"z"}, 0)
    with pytest.raises(Cut):
        save(repository, FIRST, 1, into=Pruned(repository.destination, ""))

    def beside(path: bytes) -> None:
        if path == b"b":
            prune(repository, now=START + GRACE)

    second = save(repository, FIRST, 2, before=beside)
    assert second.figures["new_bytes"] == 0, "the killed run's packs are used"
    assert_whole(repository, {first.id: {b"z": b"z"}, second.id: FIRST})
    for later in (2, 3):
        prune(repository, now=START + later * GRACE)
        assert_whole(repository, {first.id: {b"z": b"z"}, second.id: FIRST})


def test_a_copy_relies_on_no_orphan_that_a_prune_is_about_to_delete(fast_path: Path) -> None:
    """A copy was killed between packs and index; much later it goes on while a prune deletes what it had left."""
    here, to = create(local(fast_path / "here")), create(local(fast_path / "to"))
    snapshot = save(here, FIRST, 0)
    with pytest.raises(Cut):
        here.copy(snapshot.id, Repository.open(Failing(to.destination, "index/"), keys().writer))
    prune(to)
    plan = to.plan_prune([], START + GRACE, GRACE)
    assert plan.delete

    class Beside(Failing):
        def put(self, name: str, data: Data) -> None:
            if name.startswith("index/"):
                plan.apply()
            self._inner.put(name, data)

    beside = Repository.open(Beside(to.destination, ""), keys().writer)
    beside.clock = lambda: START + GRACE
    try:
        here.copy(snapshot.id, beside)
    except BackupError:
        assert to.snapshot_ids() == []
    else:
        assert_whole(to, {snapshot.id: FIRST})
    prune(to, now=START + 2 * GRACE)
    prune(to, now=START + 3 * GRACE)
    here.copy(snapshot.id, to)
    assert_whole(to, {snapshot.id: FIRST})


@pytest.mark.parametrize("how", ["lost", "emptied"])
def test_a_pack_that_is_lost_is_never_preferred_to_a_copy_that_is_there(fast_path: Path, how: str) -> None:
    """Two captures at once stored the same chunks twice; one pack is lost before anybody has looked."""
    for turn in range(6):
        repository = create(local(fast_path / str(turn)))

        def beside(path: bytes, repository: Repository = repository) -> None:
            if path == b"b":
                save(repository, FIRST, 1)

        twins = save(repository, FIRST, 0, before=beside), repository.snapshots()[-1]
        for pack in twins[turn % 2].packs:
            name = f"packs/{pack[:2]}/{pack}"
            if repository.destination.get(name, 4, 1) == b"D":
                repository.destination.delete(name)
                if how == "emptied":
                    repository.destination.put(name, b"")
        for later in range(4):
            prune(repository, now=START + later * GRACE)
            for snapshot in repository.snapshots():
                assert restored(repository, snapshot) == FIRST
        assert len(repository.snapshots()) == 2


def test_nothing_is_pruned_while_a_pack_that_is_needed_is_lost(repository: Repository) -> None:
    first, second = save(repository, FIRST, 0), save(repository, SECOND, 1)
    for name in packs(repository):
        if repository.destination.get(name, 4, 1) == b"D" and name.rpartition("/")[2] in first.packs:
            repository.destination.delete(name)
    before = packs(repository)
    with pytest.raises(BackupError, match="run `verify` first"):
        prune(repository, now=START + 2 * GRACE)
    assert packs(repository) == before
    repository.condemn_damaged(repository.check("content").damaged_packs, START)
    prune(repository, first, now=START + 2 * GRACE)
    assert repository.snapshot_ids() == [second.id]


def test_a_writer_can_plan_and_condemn_but_rewriting_contents_is_refused(repository: Repository) -> None:
    many = {b"%02d" % at: noise(at, 300_000) for at in range(10)}
    first, second = save(repository, many, 0), save(repository, {b"03": many[b"03"]}, 1)
    writing = Repository.open(repository.destination, keys().writer)
    plan = writing.plan_prune([first.id], START, GRACE)
    with pytest.raises(BackupError):
        plan.apply()
    assert restored(repository, second) == {b"03": many[b"03"]}
    assert repository.check("content").good


def run_history(repository: Repository, seed: int) -> None:
    chance = random.Random(seed)
    now, grace = START, chance.choice([timedelta(0), DAY, GRACE])
    repository.clock = lambda: now
    pool = [noise(at, chance.choice([10, 5000, 70_000, 200_000])) for at in range(12)]
    files: dict[bytes, bytes] = {}
    kept: dict[str, Files] = {}

    def some() -> list[str]:
        return [snapshot for snapshot in kept if chance.random() < 0.3]

    def prune_now() -> None:
        forget = some()
        repository.plan_prune(forget, now, grace).apply()
        for snapshot in forget:
            del kept[snapshot]

    for night in range(14):
        for _ in range(chance.randrange(1, 5)):
            path = b"%d/%d" % (chance.randrange(3), chance.randrange(4))
            if chance.random() < 0.3:
                files.pop(path, None)
            else:
                files[path] = chance.choice(pool)
        pausing = chance.randrange(8) if grace else 99

        def beside(_: bytes, counted: list[int] = [], pausing: int = pausing) -> None:  # noqa: B006 - a counter
            counted.append(1)
            if len(counted) == pausing:
                prune_now()

        capture = MemoryCapture(dict(files), before=beside)
        snapshot = repository.save(capture, about(night), repository.destination)
        kept[snapshot.id] = dict(files)
        now += chance.choice([timedelta(0), DAY, 2 * DAY, 5 * DAY, -DAY])
        if chance.random() < 0.6:
            prune_now()
        if chance.random() < 0.2:
            assert_whole(repository, kept)
    assert_whole(repository, kept)
    for _ in range(3):
        now += max(grace, DAY) + 5 * DAY
        repository.plan_prune([], now, grace).apply()
        assert_whole(repository, kept)
    assert condemned(repository) == []
    assert repository.check("listing").figures["orphan_packs"] == 0


@pytest.mark.parametrize("seed", range(12))
def test_no_history_loses_what_a_kept_snapshot_needs(repository: Repository, seed: int) -> None:
    run_history(repository, seed)

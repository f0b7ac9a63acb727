"""Prunes that are killed, run twice, or run beside captures and copies; orphans; and whole random histories."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.destinations import Data
from tasks.errors import BackupError, Condemned, Damaged, Unavailable
from tasks.repository import Proof, Repository
from tests.memory_source import MemoryCapture
from tests.repositories import START, about, create, keys, local, restored, save
from tests.unit.repository.pruned import (
    DAY,
    FIRST,
    GRACE,
    Cut,
    Cutting,
    Failing,
    Files,
    assert_whole,
    condemned,
    noise,
    prune,
)


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
    repository.prove(Proof(late.id, "verify", START, good=True))
    plan = repository.plan_prune([late.id], START, GRACE)
    assert all(plan.figures[what] for what in ("forget", "condemn", "repack", "delete", "pardon")), plan.figures
    assert plan.orphans
    return repository, {kept.id: few, again.id: FIRST}, [late.id]


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
        assert repository.proofs() == {}
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


def test_what_a_host_whose_clock_is_behind_lists_while_a_prune_is_under_way_stays_whole(repository: Repository) -> None:
    """It does not see that what it relies on was condemned long ago."""
    first, second = save(repository, FIRST, 0), save(repository, {b"z": b"z"}, 1)
    plans = []

    def beside(path: bytes) -> None:
        if path == b"b":
            prune(repository, first)
            plans.append(repository.plan_prune([], START + GRACE, GRACE))
            repository.clock = lambda: START - DAY

    third = save(repository, FIRST, 2, before=beside)
    assert plans[0].apply()["delete"]
    assert_whole(repository, {second.id: {b"z": b"z"}, third.id: FIRST})


def test_where_what_was_listed_meanwhile_cannot_be_read_nothing_is_deleted(repository: Repository) -> None:
    """It may need any pack."""
    first, _ = save(repository, FIRST, 0), save(repository, {b"z": b"z"}, 1)
    prune(repository, first)
    plan = repository.plan_prune([], START + GRACE, GRACE)
    packs = repository.listed_packs()
    repository.destination.put("snapshots/20261130T000000Z-00000000", b"rubbish")
    assert plan.figures["delete"]
    with pytest.raises(Damaged):
        plan.apply()
    assert repository.listed_packs() == packs


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


def test_an_orphan_that_got_an_index_while_packs_were_rewritten_is_not_deleted(fast_path: Path) -> None:
    """The copy that finds what a prune is about to delete gives up; tried again, it finds an index that names it."""
    here, to = create(local(fast_path / "here")), create(local(fast_path / "to"))
    snapshot = save(here, FIRST, 0)
    with pytest.raises(Cut):
        here.copy(snapshot.id, Repository.open(Failing(to.destination, "index/"), keys().writer))
    prune(to)
    plan = to.plan_prune([], START + GRACE, GRACE)
    assert plan.delete
    to.clock = lambda: START + GRACE
    with pytest.raises(Unavailable):
        here.copy(snapshot.id, to)
    here.copy(snapshot.id, to)
    plan.apply()
    for later in (1, 2, 3):
        assert_whole(to, {snapshot.id: FIRST})
        prune(to, now=START + later * GRACE)
    assert condemned(to) == []


def test_an_orphan_that_is_about_to_be_deleted_is_relied_on_by_nothing(fast_path: Path) -> None:
    here, to = create(local(fast_path / "here")), create(local(fast_path / "to"))
    snapshot = save(here, FIRST, 0)
    with pytest.raises(Cut):
        here.copy(snapshot.id, Repository.open(Failing(to.destination, "index/"), keys().writer))
    prune(to)

    class Beside(Cutting):
        """Right before a pack is deleted, a copy goes on, and is tried again."""

        def delete(self, name: str) -> None:
            if name.startswith("packs/"):
                to.clock = lambda: START + GRACE
                for _ in range(2):
                    with pytest.raises((Condemned, Unavailable)):
                        here.copy(snapshot.id, to)
            super().delete(name)

    prune(Repository.open(Beside(to.destination, -1), keys().reader), now=START + GRACE)
    assert to.snapshot_ids() == []
    for later in (2, 3):
        prune(to, now=START + later * GRACE)
    here.copy(snapshot.id, to)
    assert_whole(to, {snapshot.id: FIRST})


def test_what_another_prune_deleted_and_a_copy_brought_again_is_not_deleted(fast_path: Path) -> None:
    here, to = create(local(fast_path / "here")), create(local(fast_path / "to"))
    first = save(here, FIRST, 0)
    here.copy(first.id, to)
    prune(to, first)
    late = to.plan_prune([], START + GRACE, GRACE)
    assert late.delete
    prune(to, now=START + GRACE)
    again = save(here, FIRST, 1)
    here.copy(again.id, to)
    late.apply()
    for later in (1, 2, 3):
        assert_whole(to, {again.id: FIRST})
        prune(to, now=START + later * GRACE)
    assert condemned(to) == []


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

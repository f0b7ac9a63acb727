"""Prune: what nothing needs goes, in two passes; what anything needs stays, whatever runs beside it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tasks.errors import BackupError, Condemned, NoSpace
from tasks.repository import Proof, Repository, packing, pruning
from tasks.repository import pack as pack_file
from tasks.repository.pack import object_name
from tests.repositories import START, create, keys, local, packs, restored, save, stored_bytes
from tests.unit.repository.pruned import (
    DAY,
    FIRST,
    GRACE,
    SECOND,
    Files,
    Full,
    assert_whole,
    condemned,
    noise,
    prune,
)


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


def test_what_a_clock_that_was_ahead_condemned_goes_after_the_grace_period_of_the_right_one(
    repository: Repository,
) -> None:
    first, second = save(repository, FIRST, 0), save(repository, {b"z": b"z"}, 1)
    years = 3650 * DAY
    prune(repository, first, now=START + years)
    assert prune(repository, now=START + 2 * DAY)["delete"] == 0
    assert prune(repository, now=START + DAY + GRACE)["delete"] == 0
    assert prune(repository, now=START + 2 * DAY + GRACE)["delete"] > 0
    assert condemned(repository) == []
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


def test_where_there_is_no_room_to_rewrite_packs_all_else_is_pruned_and_nothing_takes_up_more(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_file, "TARGET", 500_000)
    many = {b"%02d" % at: noise(at, 300_000) for at in range(45)}
    few = {path: many[path] for path in list(many)[::3]}
    other = save(repository, {b"gone": noise(99, 2_500_000)}, 0)
    first, second = save(repository, many, 1), save(repository, few, 2)
    prune(repository, other)
    before = stored_bytes(repository.destination)
    full = Repository.open(Full(repository.destination, before + 100_000), keys().reader)
    with pytest.raises(NoSpace):
        prune(full, first, now=START + GRACE)
    assert stored_bytes(repository.destination) < before - 2_400_000
    assert_whole(repository, {second.id: few})
    assert not repository.listed_packs().keys() - {each.name for each in repository.whole_index(strict=True).packs}
    figures = prune(repository, now=START + 2 * GRACE)
    assert figures["repack"] > 0
    prune(repository, now=START + 3 * GRACE)
    assert stored_bytes(repository.destination) < 5_000_000
    assert_whole(repository, {second.id: few})


def test_a_pack_that_is_mostly_used_is_left_alone(repository: Repository) -> None:
    # One block: of two, those who pack them may make a pack each, and of one of them little is used.
    many = {b"%02d" % at: noise(at, 150_000) for at in range(10)}
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


def test_large_index_objects_stay_as_they_are(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or all of a large index would be written again each night."""
    monkeypatch.setattr(pruning, "MOST_CHUNKS_AN_INDEX", 20)
    monkeypatch.setattr(packing, "MOST_CHUNKS_AN_INDEX", 20)
    kept, large = dict[str, Files](), set[str]()
    for night in range(60):
        files = {b"%d" % at: noise(100 * night + at, 50) for at in range(12 if night < 5 else 1)}
        kept[save(repository, files, night).id] = files
        if night == 4:
            large = set(repository.index_names())
    prune(repository)
    left = set(repository.index_names())
    assert large < left
    assert len(left) <= 5 + 8, "and the small ones become few of that size"
    assert_whole(repository, kept)
    prune(repository)
    assert set(repository.index_names()) == left


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


def test_a_damaged_pack_is_never_preferred_to_a_condemned_one_that_is_whole(fast_path: Path) -> None:
    for turn in range(6):
        repository = create(local(fast_path / str(turn)))

        def beside(path: bytes, repository: Repository = repository) -> None:
            if path == b"b":
                save(repository, FIRST, 1)

        save(repository, FIRST, 0, before=beside)
        plan = repository.plan_prune([], START, GRACE)
        plan.apply()
        for name in packs(repository):
            if bytes.fromhex(name.rpartition("/")[2]) not in plan.condemn:
                data = bytearray(repository.destination.get(name))
                data[150] ^= 1
                repository.destination.delete(name)
                repository.destination.put(name, data)
        found = repository.check("content")
        assert found.damaged_packs
        repository.condemn_damaged(found.damaged_packs, START)
        assert repository.check("content").good, "there is a whole copy of everything"
        for later in range(1, 4):
            prune(repository, now=START + later * GRACE)
            for snapshot in repository.snapshots():
                assert restored(repository, snapshot) == FIRST
        assert len(repository.snapshots()) == 2
        assert not repository.check("content").damaged_packs


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

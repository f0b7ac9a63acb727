"""Damaged index objects that can't be deleted, whose packs are damaged too, or that two find at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tasks.destinations import Data
from tasks.errors import Damaged, Locked, NewerFormat, Refused
from tasks.repository import Repository
from tests.damaged.history import History, contents_of
from tests.passing_destination import Passing
from tests.repositories import START, keys, restored


class Undeletable(Passing):
    """As for who may only create."""

    def delete(self, name: str) -> None:
        raise Refused(f"`{name}` stays")


class LockedIndex(Passing):
    def delete(self, name: str) -> None:
        if name.startswith("index/"):
            raise Locked(f"`{name}` is locked")
        super().delete(name)


class Twice(Passing):
    """Where another host does the same right before the first index object is put."""

    first = True

    def put(self, name: str, data: Data) -> None:
        if self.first and name.startswith("index/"):
            self.first = False
            assert Repository.open(self._inner, keys().reader).rebuild_index(START) > 0
        super().put(name, data)


def damage(history: History) -> list[str]:
    names = history.names("index/")
    for name in names:
        history.replace(name, b"rotten")
    return names


def assert_all_restored(history: History) -> None:
    assert history.assert_never_wrong().good
    for night, snapshot in enumerate(history.snapshots):
        assert restored(history.reopened(), snapshot) == contents_of(night)


@pytest.mark.parametrize("kind", [Undeletable, LockedIndex])
def test_a_damaged_index_that_may_not_be_deleted_does_not_matter(history: History, kind: type[Passing]) -> None:
    damaged = damage(history)
    refusing = Repository.open(kind(history.destination), keys().reader)
    found = refusing.check("items")
    assert found.lacks_index
    assert {each.name for each in found.damage} >= set(damaged)
    assert refusing.rebuild_index(START) > 0
    for _ in range(2):
        found = refusing.check("content")
        assert found.good
        assert not found.lacks_index
        if kind is LockedIndex:
            refusing.plan_prune([], START, timedelta(0)).apply()
        else:
            with pytest.raises(Refused):
                refusing.plan_prune([], START, timedelta(0)).apply()
    assert set(damaged) <= set(history.names("index/"))
    assert_all_restored(history)
    history.repository.plan_prune([], START, timedelta(0)).apply()
    assert not set(damaged) & set(history.names("index/"))
    assert_all_restored(history)


def test_two_that_make_it_anew_at_once_are_in_nobodys_way(history: History) -> None:
    damage(history)
    assert Repository.open(Twice(history.destination), keys().reader).rebuild_index(START) > 0
    assert_all_restored(history)
    assert history.repository.rebuild_index(START) == 0
    history.repository.plan_prune([], START, timedelta(0)).apply()
    assert_all_restored(history)


def test_a_host_that_still_has_a_copy_goes_on_beside_what_was_made_anew(history: History, tmp_path: Path) -> None:
    other = Repository.open(history.destination, keys().reader, tmp_path / "cache")
    other.sound_index()
    damaged = damage(history)
    assert history.repository.rebuild_index(START) > 0
    other.plan_prune([], START, timedelta(0)).apply()
    assert_all_restored(history)
    assert other.check("content").good
    other.plan_prune([], START, timedelta(0)).apply()
    assert not set(damaged) & set(history.names("index/")), "its check has told it that they are damaged"
    assert_all_restored(history)


def test_packs_whose_footers_are_lost_with_their_index_are_stored_again_and_stop_no_prune(history: History) -> None:
    damage(history)
    broken = history.pack_of(2, "D")
    history.alter(broken, lambda data: data.__setitem__(slice(-30, None), bytes(30)))
    assert history.repository.rebuild_index(START) > 0
    report = history.assert_never_wrong()
    assert history.hurt(report) == {history.snapshots[2].id}
    assert not [each for each in report.damage if each.name.startswith("index/")]
    assert history.next_night().figures["new_bytes"] > 0
    assert_all_restored(history)
    for _ in range(2):
        history.repository.plan_prune([], START, timedelta(0)).apply()
    assert broken not in history.names("packs/")
    assert_all_restored(history)


def test_a_copy_knows_of_packs_whose_footers_are_lost(history: History, tmp_path: Path) -> None:
    repository = Repository.open(history.destination, keys().reader, tmp_path / "cache")
    repository.sound_index()
    broken = history.pack_of(2, "D")
    history.alter(broken, lambda data: data.__setitem__(slice(-30, None), bytes(30)))
    damage(history)
    repository.rebuild_index(START)
    # Its blocks are whole.
    assert restored(history.reopened(), history.snapshots[2]) == contents_of(2)


def test_a_damaged_index_stops_prunes_again_while_there_is_a_pack_that_it_may_name(history: History) -> None:
    damage(history)
    history.repository.rebuild_index(START)
    with_orphan = history.destination.get(history.pack_of(0, "D"))
    history.destination.put(f"packs/ab/{'ab' * 16}", with_orphan)
    with pytest.raises(Damaged, match="run `verify` first"):
        history.repository.plan_prune([], START, timedelta(0))
    history.repository.rebuild_index(START)
    assert_all_restored(history)
    history.repository.plan_prune([], START, timedelta(0)).apply()
    assert_all_restored(history)


def test_what_may_be_a_newer_versions_index_is_named_and_left_alone(history: History) -> None:
    newer = history.names("index/")[0]
    history.alter(newer, lambda data: data.__setitem__(3, ord("9")))
    assert history.repository.rebuild_index(START) > 0
    assert [each.name for each in history.repository.check("listing").damage] == [newer]
    with pytest.raises(NewerFormat):
        history.repository.plan_prune([], START, timedelta(0))
    assert restored(history.reopened(), history.snapshots[0]) == contents_of(0)


def test_an_index_under_another_name_is_told_from_the_original_and_goes_with_the_next_prune(history: History) -> None:
    name = history.names("index/")[0]
    again = name[:-1] + ("0" if name[-1] != "0" else "1")
    history.destination.put(again, history.destination.get(name))
    assert history.reopened().damaged_indexes() == [again]
    assert history.assert_never_wrong().good, "others name all packs"
    history.repository.plan_prune([], START, timedelta(0)).apply()
    assert again not in history.names("index/")
    assert name in history.names("index/")

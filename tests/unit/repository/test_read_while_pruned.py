"""What is read while a prune, perhaps another host's, puts other objects in the place of those that are read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.destinations import Data, Listed
from tasks.repository import Repository, pruning
from tasks.repository.condemned import doubts, lift, put_sentence
from tests.passing_destination import Passing
from tests.repositories import START, keys, save
from tests.unit.repository.pruned import FIRST, GRACE, Files, assert_whole, condemned, noise, prune


def test_an_index_that_a_prune_rewrites_while_it_is_read_is_read_whole(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_MOST_INDEXES", 1)
    kept: dict[str, Files] = {}
    for night in range(40):
        files = {b"a": noise(night, 50)}
        kept[save(repository, files, night).id] = files

    class Beside(Passing):
        pruned = False

        def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            data = super().get(name, offset, length)
            if name.startswith("index/") and not self.pruned:
                self.pruned = True
                prune(repository)
            return data

    beside = Repository.open(Beside(repository.destination), keys().reader)
    assert len(beside.whole_index().packs) == len(repository.whole_index().packs)
    assert beside.check("content").good
    assert_whole(repository, kept)


@pytest.mark.parametrize("strict", [True, False])
def test_what_is_left_of_a_list_that_a_prune_replaces_while_it_is_read_counts(
    repository: Repository, *, strict: bool
) -> None:
    """Or a restore would prefer a pack that is about to be deleted to one that stays."""
    destination, held = repository.destination, repository.keys
    packs = [bytes([at]) * 16 for at in range(5)]
    put_sentence(destination, held, START, START + GRACE, packs=packs)

    class Beside(Passing):
        left = packs[1:]

        def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            if self.left:
                lift(destination, held, [self.left.pop(), self.left.pop()])
            return super().get(name, offset, length)

    assert doubts(Beside(destination), held, strict=strict).condemned == {packs[0]}


def test_index_objects_that_another_prune_rewrites_at_the_same_time_fail_no_prune(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_MOST_INDEXES", 1)
    kept: dict[str, Files] = {}
    for night in range(3):
        files = {b"a": noise(night, 50)}
        kept[save(repository, files, night).id] = files

    class Beside(Passing):
        planned = False

        def list(self, prefix: str = "") -> Iterator[Listed]:
            yield from super().list(prefix)
            if self.planned and prefix == "index/":
                self.planned = False
                prune(repository)

    beside = Beside(repository.destination)
    plan = Repository.open(beside, keys().reader).plan_prune([], START, GRACE)
    beside.planned = True
    plan.apply()
    assert_whole(repository, kept)


def test_what_a_prune_deleted_while_another_named_it_anew_is_no_damage_and_is_named_no_more(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_MOST_INDEXES", 0)
    first, second = save(repository, FIRST, 0), save(repository, {b"z": b"z"}, 1)
    prune(repository, first)

    class Beside(Passing):
        def put(self, name: str, data: Data) -> None:
            if name.startswith("index/"):
                assert prune(repository, now=START + GRACE)["delete"]
            super().put(name, data)

    beside = Repository.open(Beside(repository.destination), keys().reader)
    beside.plan_prune([], START, GRACE).apply()
    gone = {pack.name for pack in repository.whole_index().packs} - repository.listed_packs().keys()
    report = repository.check("content")
    assert gone
    assert report.good, report.damage
    repository.condemn_damaged(report.damaged_packs, START + GRACE)
    for later in (2, 3):
        prune(repository, now=START + later * GRACE)
    assert not gone & {pack.name for pack in repository.whole_index().packs}
    assert condemned(repository) == []
    assert_whole(repository, {second.id: {b"z": b"z"}})

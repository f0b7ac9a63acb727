"""Repositories whose objects are locked: what is kept stays locked, what is let go leaves as soon as it may."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.destinations import Destination, Prefixed, open_destination
from tasks.destinations.immutable import immutable
from tasks.errors import Locked, Missing, Refused
from tasks.repository import Repository, Snapshot
from tests.repositories import SOURCE, keys, packs, save
from tests.stores.gcs import GcsServer
from tests.stores.rgw import RgwServer
from tests.unit.repository.pruned import FIRST, assert_whole, condemned, noise

TERM, GRACE = timedelta(seconds=6), timedelta(seconds=0.5)
"""In place of days."""
OTHER = {b"z": noise(4, 50_000)}


on_one = pytest.mark.parametrize("locking", ["gcs"], indirect=True)
"""What is ours alone, and the same wherever it is stored."""


@pytest.fixture
def term() -> timedelta:
    return TERM


@pytest.fixture(params=["rgw", "gcs"])
def locking(request: pytest.FixtureRequest, term: timedelta) -> Destination:
    options = {"immutable_days": term / timedelta(days=1)}
    server = request.getfixturevalue(request.param)
    if isinstance(server, RgwServer):
        settings = server.settings(server.locking_bucket()).model_copy(update=options)
        return Prefixed(open_destination(settings), SOURCE)
    assert isinstance(server, GcsServer)
    return Prefixed(open_destination(server.settings(server.bucket(retaining=True)).model_copy(update=options)), SOURCE)


@pytest.fixture
def reopen(locking: Destination, tmp_path: Path) -> Callable[..., Repository]:
    """As each task does: with what this host remembers, or without."""

    def opened(*, forgetful: bool = False) -> Repository:
        cache = None if forgetful else tmp_path / "cache"
        return Repository.create_or_open(locking, SOURCE, keys().reader, keys().document, cache=cache)

    return opened


def prune(repository: Repository, *forget: Snapshot, after: timedelta = timedelta(0)) -> dict[str, float]:
    return repository.plan_prune([snapshot.id for snapshot in forget], datetime.now(UTC) + after, GRACE).apply()


def left(destination: Destination, name: str) -> timedelta:
    until = immutable(destination).locked_until(name)
    return until - datetime.now(UTC) if until else timedelta(0)


def test_what_is_locked_is_left_told_and_deleted_later(reopen: Callable[..., Repository], locking: Destination) -> None:
    repository = reopen()
    first, second = save(repository, FIRST, 0), save(repository, OTHER, 1)
    figures = prune(repository, first)
    assert (figures["forget"], figures["locked"], figures["condemn"]) == (0, 1, 0)
    assert_whole(repository, {first.id: FIRST, second.id: OTHER})

    # What is kept is locked anew meanwhile; what was let go is not.
    deadline = time.monotonic() + 40
    freed = 0.0
    while freed < 500_000:
        assert time.monotonic() < deadline, "what nothing needs is never deleted"
        time.sleep(0.5)
        figures = prune(reopen(), *(snapshot for snapshot in (first,) if first.id in repository.snapshot_ids()))
        freed += figures["freed_bytes"]
        for name in [f"snapshots/{second.id}", "repository", f"keys/{keys().writer.keyring}"]:
            assert left(locking, name) > TERM / 2, name
            with pytest.raises(Locked):
                locking.delete(name)
    assert_whole(reopen(forgetful=True), {second.id: OTHER})

    # Indexes that a rewriting has replaced go as well, and no list of condemned packs stays behind.
    while len(reopen().index_names()) > 1 or condemned(repository):
        assert time.monotonic() < deadline, (repository.index_names(), condemned(repository))
        time.sleep(0.5)
        prune(reopen())
    assert_whole(reopen(forgetful=True), {second.id: OTHER})


@pytest.mark.parametrize("term", [timedelta(days=8)])
def test_a_lock_is_renewed_once_a_quarter_of_it_is_over_and_not_before(
    reopen: Callable[..., Repository], locking: Destination, term: timedelta
) -> None:
    repository = reopen()
    kept = save(repository, FIRST, 0)
    everything = {listed.name for listed in locking.list()}
    # What this host has not seen locked it locks, whoever stored it, and remembers.
    assert prune(reopen())["renew"] == len(everything)
    assert prune(reopen())["renew"] == 0
    assert prune(reopen(), after=term / 4 - timedelta(hours=1))["renew"] == 0
    assert prune(reopen(), after=term / 4 + timedelta(hours=1))["renew"] == len(everything)
    for name in everything:
        assert left(locking, name) > term * 1.2, name
    # Losing what is remembered costs requests, and no lock.
    assert prune(reopen(forgetful=True))["renew"] == len(everything)
    for name in everything:
        assert left(locking, name) > term * 1.2, name
    assert_whole(repository, {kept.id: FIRST})


@on_one
def test_a_damaged_snapshot_that_is_let_go_by_name_stops_no_prune_while_it_is_locked(
    reopen: Callable[..., Repository], locking: Destination
) -> None:
    repository = reopen()
    kept = save(repository, FIRST, 0)
    broken = "snapshots/20261102T020000Z-broken"
    locking.put(broken, b"rubbish")
    figures = repository.plan_prune(["20261102T020000Z-broken"], datetime.now(UTC), GRACE).apply()
    assert figures["locked"] == 1
    time.sleep(TERM.total_seconds() + 1.2)
    figures = reopen().plan_prune(["20261102T020000Z-broken"], datetime.now(UTC), GRACE).apply()
    assert figures["forget"] == 1
    assert_whole(repository, {kept.id: FIRST})


@on_one
def test_a_damaged_index_that_is_locked_does_not_matter_and_goes_once_it_may(
    reopen: Callable[..., Repository], locking: Destination
) -> None:
    repository = reopen()
    kept = save(repository, FIRST, 0)
    broken = f"index/{'0' * 32}"
    locking.put(broken, b"rubbish")
    assert_whole(reopen(forgetful=True), {kept.id: FIRST})
    prune(reopen())
    assert broken in repository.index_names()
    time.sleep(TERM.total_seconds() + 1.2)
    prune(reopen())
    assert broken not in repository.index_names()
    assert_whole(reopen(forgetful=True), {kept.id: FIRST})


@on_one
def test_many_nights_do_not_pile_up(reopen: Callable[..., Repository]) -> None:
    """Each night replaces the one before, and is pruned: packs and indexes stay few, although each is locked."""
    files: dict[bytes, bytes] = {}
    repository = reopen()
    for night in range(5):
        files = {b"a": noise(night, 40_000), b"same": noise(99, 40_000)}
        last = save(repository, files, night)
        time.sleep(1.0)
        prune(reopen(), *(each for each in repository.snapshots() if each.id != last.id))
        assert repository.check("content").good
    (*going, last) = repository.snapshots()
    deadline = time.monotonic() + 30
    while len(repository.index_names()) > 3 or len(packs(repository)) > 4:
        assert time.monotonic() < deadline, (repository.index_names(), packs(repository))
        time.sleep(0.7)
        prune(reopen(), *(each for each in going if each.id in repository.snapshot_ids()))
    assert_whole(reopen(forgetful=True), {last.id: files})


@on_one
def test_a_pruner_that_may_not_lock_deletes_nothing(reopen: Callable[..., Repository], locking: Destination) -> None:
    """What is kept comes first: where it can't be locked anew, nothing else is touched."""
    repository = reopen()
    first, second = save(repository, FIRST, 0), save(repository, OTHER, 1)
    time.sleep(TERM.total_seconds() + 1.2)
    plan = repository.plan_prune([first.id], datetime.now(UTC), GRACE)
    locking.delete(f"snapshots/{second.id}")
    with pytest.raises((Missing, Refused)):
        plan.apply()
    assert repository.snapshot_ids() == [first.id]

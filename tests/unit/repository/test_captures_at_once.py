"""Two captures of one source at once are wasteful, never harmful: nothing is locked."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

from tasks.destinations import Overlay
from tasks.repository import Repository, Snapshot
from tests.contracts.child import Child
from tests.memory_source import File, MemoryCapture
from tests.repositories import START, about, create, keys, local, restored, save

NOISE = random.Random(1).randbytes(9_000_000)


def files(number: int) -> dict[bytes, File | bytes]:
    small: dict[bytes, File | bytes] = {
        b"%03d" % at: b"%d %d" % (at, number if at % 50 == 0 else 0) for at in range(300)
    }
    return {**small, b"large": NOISE, b"own": b"%d" % number * 1000}


def assert_all_whole(repository: Repository, snapshots: list[Snapshot]) -> None:
    assert repository.check("content").good
    for number, snapshot in enumerate(snapshots):
        assert restored(repository, snapshot) == files(number)


def test_threads_that_capture_different_runs_of_one_source(repository: Repository) -> None:
    def capture(number: int) -> Snapshot:
        own = Repository.open(repository.destination, keys().writer)
        return save(own, files(number), number)

    with ThreadPoolExecutor(4) as pool:
        snapshots = list(pool.map(capture, range(4)))
    assert_all_whole(repository, snapshots)
    for later in range(1, 3):
        repository.plan_prune([], START + later * timedelta(days=3), timedelta(days=3)).apply()
        assert_all_whole(repository, snapshots)


def test_processes_that_capture_different_runs_of_one_source(fast_path: Path) -> None:
    repository = create(local(fast_path))

    def capture(number: int) -> Snapshot:
        return save(Repository.open(local(fast_path), keys().writer), files(number), number)

    children = [Child(partial(capture, number)) for number in range(3)]
    assert_all_whole(repository, [child.result() for child in children])


def test_the_same_run_twice_at_once_seals_one_snapshot(repository: Repository) -> None:
    def capture(number: int) -> Snapshot:
        own = Repository.open(repository.destination, keys().writer)
        return save(own, files(0), 0)

    with ThreadPoolExecutor(3) as pool:
        snapshots = list(pool.map(capture, range(3)))
    assert snapshots[0] == snapshots[1] == snapshots[2]
    assert repository.snapshot_ids() == [snapshots[0].id]
    assert_all_whole(repository, snapshots[:1])


def test_uploads_of_one_snapshot_twice_at_once_do_no_harm(fast_path: Path) -> None:
    first, second = create(local(fast_path / "first")), create(local(fast_path / "second"))
    spool = local(fast_path / "spool")
    snapshot = Repository.open(first.destination, keys().writer).save(MemoryCapture(files(0)), about(0), spool)

    def upload(to: Repository) -> dict[str, float]:
        here = Repository.open(Overlay(spool, first.destination), keys().writer)
        return here.copy(snapshot.id, Repository.open(to.destination, keys().writer))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upload, [first, second, first, second]))
    for repository in (first, second):
        assert_all_whole(repository, [snapshot])


def test_a_capture_beside_a_prune_that_rewrites_the_index(repository: Repository) -> None:
    kept = [save(repository, files(number), number) for number in range(3)]

    def prune(turn: int) -> None:
        own = Repository.open(repository.destination, keys().reader)
        own.plan_prune([], START + turn * timedelta(hours=1), timedelta(days=3)).apply()

    def capture(number: int) -> Snapshot:
        return save(Repository.open(repository.destination, keys().writer), files(number), number)

    with ThreadPoolExecutor(2) as pool:
        pruning = pool.submit(lambda: list(map(prune, range(8))))
        kept += [pool.submit(capture, number).result() for number in range(3, 8)]
        pruning.result()
    assert_all_whole(repository, kept)

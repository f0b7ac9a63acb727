"""Packs from one place to another, at least one of them a cloud: whole, and none of them held in memory."""

from __future__ import annotations

import random
import resource
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.destinations import Destination, Prefixed, open_destination
from tasks.destinations.pouring import Pouring, pour
from tasks.errors import Missing, NoSpace
from tasks.repository import Repository, Snapshot, pack
from tasks.repository.condemned import doubts
from tasks.repository.copying import Copying
from tests.repositories import SOURCE, START, create, keys, local, packs, restored, save

MIB = 1 << 20
PACK = 6 * MIB
FILES = {b"%d" % number: random.Random(number).randbytes(PACK) for number in range(6)}


@pytest.fixture(autouse=True)
def smaller_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "TARGET", PACK)


def place(kind: str, request: pytest.FixtureRequest, folder: Path) -> Destination:
    """A new, empty one."""
    if kind == "folder":
        return local(folder / "local")
    server: Any = request.getfixturevalue(kind)
    made = server.container() if kind == "azure" else server.bucket()
    return Prefixed(open_destination(server.settings(made)), SOURCE)


def as_writer(destination: Destination, cache: Path | None) -> Repository:
    return Repository.open(destination, keys().writer, cache)


def filled(destination: Destination) -> Snapshot:
    return save(create(destination), FILES, 0)


@contextmanager
def held(most: int) -> Iterator[None]:
    """No more bytes than that at any time: some of those packs that are under way at once, and what an SDK needs."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most


@pytest.mark.parametrize(
    ("origin", "destination"),
    [("s3", "folder"), ("folder", "s3"), ("s3", "azure"), ("azure", "s3"), ("gcs", "folder")],
)
def test_packs_pass_through_no_memory(
    request: pytest.FixtureRequest, fast_path: Path, origin: str, destination: str
) -> None:
    there = place(origin, request, fast_path)
    to = create(place(destination, request, fast_path / "other"))
    snapshot = filled(there)
    here = as_writer(there, fast_path / "cache")
    with held(2 * PACK):
        here.copy(snapshot.id, as_writer(to.destination, None))
    assert len(packs(to)) == len(packs(here)) > 3
    assert restored(to, snapshot) == FILES
    assert not list((fast_path / "cache").rglob("geometra-packs-*"))


def test_a_pack_that_is_damaged_is_replaced_through_no_memory(request: pytest.FixtureRequest, fast_path: Path) -> None:
    there = place("s3", request, fast_path)
    snapshot = filled(there)
    here, to = as_writer(there, fast_path / "cache"), create(local(fast_path / "second"))
    here.copy(snapshot.id, to)
    for name in packs(to):
        to.destination.delete(name)
        to.destination.put(name, b"rubbish")
    to.condemn_damaged({bytes.fromhex(name.rpartition("/")[2]) for name in packs(to)}, START)
    with held(2 * PACK):
        Copying(here, to)
    assert not doubts(to.destination, to.keys).damaged
    assert restored(to, snapshot) == FILES


@pytest.mark.parametrize("why", ["full", "no folder"])
def test_where_there_is_no_room_for_them_packs_go_through_memory(
    request: pytest.FixtureRequest, fast_path: Path, why: str
) -> None:
    """What waits to be brought may be what fills the disk."""
    there, cache = place("s3", request, fast_path), fast_path / "cache"
    snapshot = filled(there)
    to = create(place("azure", request, fast_path))
    if why == "no folder":
        cache.write_bytes(b"")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, limits[1]))
    try:
        as_writer(there, cache).copy(snapshot.id, to)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert restored(to, snapshot) == FILES


@pytest.mark.parametrize("kind", ["s3", "azure", "gcs"])
def test_an_object_comes_into_a_file_in_place_of_what_is_in_it(
    request: pytest.FixtureRequest, fast_path: Path, kind: str
) -> None:
    there = place(kind, request, fast_path)
    assert isinstance(there, Pouring)
    with (fast_path / "file").open("w+b") as file:
        for size in (0, 9 * MIB + 1, 5, 65 * MIB):
            there.put(f"packs/{size}", content := random.Random(size).randbytes(size))
            pour(there, f"packs/{size}", file)
            assert (fast_path / "file").read_bytes() == content
        for name in ("packs/none", "none"):
            with pytest.raises(Missing):
                pour(there, name, file)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, limits[1]))
        try:
            with pytest.raises(NoSpace):
                pour(there, f"packs/{9 * MIB + 1}", file)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

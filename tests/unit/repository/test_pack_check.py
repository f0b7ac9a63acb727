"""Packs that are far away are read in pieces; what is found is the same."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from tasks.destinations import Destination
from tasks.errors import NewerFormat
from tasks.repository import Repository, compression, pack_check
from tasks.repository.block import TARGET
from tasks.repository.check import check
from tests.passing_destination import Passing
from tests.repositories import create, keys, local, packs, restored, save

MIB = 1 << 20


class Far(Passing):
    """A destination none of whose objects is a file of this host."""

    def __init__(self, inner: Destination) -> None:
        super().__init__(inner)
        self.reads: list[tuple[str, int, int | None]] = []

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if name.startswith("packs/"):
            self.reads.append((name, offset, length))
        return self._inner.get(name, offset, length)


@pytest.fixture
def repository(fast_path: Path) -> Repository:
    made = create(local(fast_path))
    save(made, {b"a": random.Random(1).randbytes(40 * MIB), b"b": b"small"}, 0)
    return made


def far(repository: Repository) -> tuple[Repository, Far]:
    destination = Far(repository.destination)
    return Repository.open(destination, keys().reader), destination


def test_a_pack_comes_in_few_pieces_each_byte_once(repository: Repository) -> None:
    seen, destination = far(repository)
    near = repository.check("content")
    destination.reads.clear()
    report = seen.check("content")
    assert report.good
    assert report.figures == near.figures
    large = [(name, size) for name, size in repository.destination.list("packs/") if size > 16 * MIB]
    assert large
    for name, size in large:
        lengths = [length for read, _, length in destination.reads if read == name and length is not None]
        assert max(lengths) <= pack_check._FAR_BYTES // pack_check._FAR_STREAMS
        # All but the start, the end and the last hold at least what a whole block more would exceed.
        least = pack_check._FAR_BYTES // pack_check._FAR_STREAMS - TARGET - 256 * 1024
        assert len(lengths) <= 3 + size // least
        assert sum(lengths) == size


@pytest.mark.parametrize("pieces", [1, 100_000, 3 * MIB, 64 * MIB])
def test_pieces_of_any_size_will_do(repository: Repository, pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_check, "_FAR_BYTES", pieces * pack_check._FAR_STREAMS)
    monkeypatch.setattr(pack_check, "_END_BYTES", 100)
    seen, _ = far(repository)
    assert check(seen, "content").good


@pytest.mark.parametrize("seed", range(20))
def test_pieces_hold_what_is_asked_for_and_nothing_comes_twice(fast_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    destination = Far(local(fast_path))
    data = chance.randbytes(chance.randrange(1000, 5000))
    destination.put("packs/aa/pack", data)
    edges = sorted({80, *(chance.randrange(80, len(data)) for _ in range(8)), len(data) - 8})
    pieces = pack_check._Pieces(destination, "packs/aa/pack", len(data), chance.randrange(1, 6000))

    def asked(start: int, end: int) -> None:
        assert pieces(start, end - start) == data[start:end]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack_check, "_END_BYTES", chance.randrange(1, 3000))
        assert pieces(0, 85) == data[:85]
        asked(len(data) - 8, len(data))
        asked(edges[-2], len(data))
        pieces.ends = edges[1:-1]
        for start, end in pairwise(edges[:-1]):
            asked(start, end)
    assert sum(length for _, _, length in destination.reads if length) <= len(data)


@pytest.mark.parametrize("at", [0.0, 0.3, 0.999])
def test_damage_is_found_in_any_piece(repository: Repository, at: float) -> None:
    name = max(packs(repository), key=lambda each: len(repository.destination.get(each)))
    data = bytearray(repository.destination.get(name))
    data[int(at * len(data)) + 10] ^= 1
    repository.destination.delete(name)
    repository.destination.put(name, data)
    seen, _ = far(repository)
    assert name in {each.name for each in seen.check("content").damage}


def test_what_only_a_newer_version_can_read_is_not_called_damaged(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = create(local(fast_path))
    with monkeypatch.context() as newer:
        newer.setattr(compression, "encode", lambda data, way: (99, data))
        save(repository, {b"a": b"by a way of the future"}, 0)
    for looking in (repository, far(repository)[0]):
        with pytest.raises(NewerFormat, match=r"method 99.*upgrade"):
            looking.check("content")
        with pytest.raises(NewerFormat, match=r"method 99.*upgrade"):
            restored(looking, looking.snapshots()[-1])


def test_a_start_that_says_it_is_newer_may_as_well_be_damage(repository: Repository) -> None:
    (name, *_) = packs(repository)
    data = bytearray(repository.destination.get(name))
    data[3:4] = b"7"
    repository.destination.delete(name)
    repository.destination.put(name, bytes(data))
    report = repository.check("content")
    assert {pack.hex() for pack in report.damaged_packs} == {name[-32:]}

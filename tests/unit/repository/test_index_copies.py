"""Copies of index objects: read instead of what is far away, never believed, and gone with what they are of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.repository import Repository, pruning
from tests.passing_destination import Passing
from tests.repositories import keys
from tests.unit.repository.house import GRACE, House, day, noise


class Asked(Passing):
    """Notes what is asked for."""

    def __init__(self, house: House) -> None:
        super().__init__(house.first.destination)
        self.names = list[str]()

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.names.append(name)
        return super().get(name, offset, length)


@pytest.fixture
def house(tmp_path: Path) -> House:
    """With four nights, and an index object of each."""
    made = House(tmp_path)
    for night in range(4):
        made.night({b"%d" % night: noise(night, 100_000)}, night, made.first)
    return made


def copies(cache: Path) -> list[str]:
    return sorted(f"index/{path.name}" for path in cache.glob("*/index/*"))


def test_what_was_read_once_is_read_here_and_what_is_damaged_here_there(house: House, tmp_path: Path) -> None:
    cache, asked = tmp_path / "cache", Asked(house)
    repository = Repository.open(asked, keys().writer, cache)
    whole = repository.sound_index()
    assert copies(cache) == repository.index_names()
    asked.names.clear()
    assert len(repository.sound_index()) == len(whole)
    assert not [name for name in asked.names if name.startswith("index/")]
    (first, *_) = cache.glob("*/index/*")
    first.write_bytes(b"damaged")
    assert len(repository.sound_index()) == len(whole)
    assert [name for name in asked.names if name.startswith("index/")] == [f"index/{first.name}"]


@pytest.mark.parametrize("way", ["copy", "folder", "cache", "link"])
def test_copies_that_the_disk_refuses_are_done_without(house: House, tmp_path: Path, way: str) -> None:
    cache = tmp_path / "cache"
    whole = Repository.open(house.first.destination, keys().writer, cache).sound_index()
    (first, *_) = cache.glob("*/index/*")
    if way == "copy":
        first.unlink()
        (first / "in the way").mkdir(parents=True)
    elif way == "folder":
        shutil.rmtree(first.parent)
        first.parent.touch()
    else:
        shutil.rmtree(cache)
        cache.touch() if way == "cache" else cache.symlink_to("nowhere/at all")
    repository = Repository.open(house.first.destination, keys().writer, cache)
    assert len(repository.sound_index()) == len(whole)
    assert not list(cache.glob("*/index/tmp*"))


def test_a_copy_that_seems_to_be_of_a_newer_version_is_read_where_it_is_from(house: House, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    whole = Repository.open(house.first.destination, keys().writer, cache).sound_index()
    for copy in cache.glob("*/index/*"):
        data = bytearray(copy.read_bytes())
        data[3] = ord("7")
        copy.write_bytes(data)
    assert len(Repository.open(house.first.destination, keys().writer, cache).sound_index()) == len(whole)


def test_copies_of_what_a_prune_has_merged_go(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    repository = Repository.open(house.first.destination, keys().writer, cache)
    repository.sound_index()
    before, half_written = copies(cache), next(cache.glob("*/index")) / "tmp-of-another"
    half_written.touch()
    monkeypatch.setattr(pruning, "_MOST_INDEXES", 2)
    house.first.plan_prune([], day(20), GRACE).apply()
    repository.sound_index()
    (merged,) = repository.index_names()
    assert merged not in before
    assert copies(cache) == [merged, f"index/{half_written.name}"]

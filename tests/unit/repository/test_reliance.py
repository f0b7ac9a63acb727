"""What a capture knew of is remembered: while all of it is there nothing is looked for; what is lost is missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.repository import Repository
from tasks.repository.previous import Previous
from tasks.repository.records import Group
from tasks.repository.reliance import Remembered
from tests.memory_source import MemoryCapture
from tests.repositories import about, keys, local, packs, restored, save
from tests.unit.repository.house import FIRST, MIB, House, day, noise, opened

FILES = {**FIRST, b"large": noise(5, 4 * MIB)}


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many groups of items were looked up, each time."""
    times, look_up = list[int](), Previous._look_up

    def counted(self: Previous, groups: list[Group]) -> Iterator[bool]:
        times.append(len(groups))
        return look_up(self, groups)

    monkeypatch.setattr(Previous, "_look_up", counted)
    return times


def capture(house: House, night: int) -> tuple[Repository, MemoryCapture]:
    """Into the first destination, with what this host remembers."""
    repository = Repository.open(house.first.destination, keys().writer, house.folder / "cache")
    repository.clock = lambda: day(night)
    made = MemoryCapture(FILES)
    repository.save(made, about(night), repository.destination)
    return repository, made


def test_nothing_is_looked_up_while_all_is_there(house: House, looked_up: list[int]) -> None:
    capture(house, 0)
    looked_up.clear()
    _, made = capture(house, 1)
    assert made.opened == []
    assert looked_up == []


@pytest.mark.parametrize("how", ["forgotten", "changed", "another"])
def test_what_is_not_remembered_is_looked_up(house: House, looked_up: list[int], how: str) -> None:
    capture(house, 0)
    (noted,) = repository_memory(house).iterdir()
    if how == "forgotten":
        noted.unlink()
    elif how == "changed":
        noted.write_bytes(noted.read_bytes()[:-1] + b"?")
    else:
        noted.rename(noted.with_name(about(7).id))
    looked_up.clear()
    _, made = capture(house, 1)
    assert looked_up
    assert made.opened == []


def lose(house: House) -> None:
    house.first.destination.delete(max(packs(house.first), key=lambda name: sizes(house)[name]))


def condemn(house: House) -> None:
    largest = max(packs(house.first), key=lambda name: sizes(house)[name])
    house.first.condemn_damaged([bytes.fromhex(largest[-32:])], day(1))


def sizes(house: House) -> dict[str, int]:
    return {listed.name: listed.size for listed in house.first.destination.list("packs/")}


def repository_memory(house: House) -> Path:
    return house.folder / "cache" / house.first.keys.identity.hex() / "reliance"


@pytest.mark.parametrize("spoil", [lose, condemn])
def test_what_is_lost_or_damaged_is_stored_again_though_it_was_remembered(
    house: House, spoil: Callable[[House], None]
) -> None:
    capture(house, 0)
    spoil(house)
    repository, made = capture(house, 2)
    assert made.opened, "what lay in it was read again"
    assert restored(opened_to_read(house), repository.snapshots()[-1]) == FILES


def opened_to_read(house: House) -> Repository:
    return Repository.open(house.first.destination, keys().reader)


def test_what_only_waits_in_a_spool_is_not_counted_on(house: House) -> None:
    """The first night was captured and never uploaded: the second must not take over what nobody has."""
    repository = Repository.open(house.first.destination, keys().writer, house.folder / "cache")
    repository.save(MemoryCapture(FILES), about(0), local(house.folder / "spool"))
    _, made = capture(house, 1)
    assert set(made.opened) == set(FILES)


def test_only_the_last_ones_are_remembered(fast_path: Path, house: House) -> None:
    memory, taken = Remembered(fast_path, house.first.keys), [save(house.first, FIRST, night) for night in range(9)]
    for night, snapshot in enumerate(taken):
        memory.keep(snapshot, {bytes([night]) * 16})
    assert memory.packs(taken[8]) == frozenset({b"\x08" * 16})
    assert memory.packs(taken[5]) == frozenset({b"\x05" * 16})
    assert memory.packs(taken[4]) is None
    assert Remembered(None, house.first.keys).packs(taken[8]) is None


def test_what_another_host_captured_under_the_same_id_is_looked_up(house: House, looked_up: list[int]) -> None:
    """Two hosts capture the same run. The other's counts, and what it relies on is lost: this one must notice."""
    here = Repository.open(house.first.destination, keys().writer, house.folder / "cache")
    mine = here.save(MemoryCapture(FIRST), about(0), local(house.folder / "spool"))
    before = packs(house.first)
    theirs = save(house.first, FILES, 0)
    assert (mine.id, mine.content) != (theirs.id, theirs.content)
    assert mine.id == theirs.id
    for listed in local(house.folder / "spool").list():  # what this host had packed comes too, by whatever way
        if listed.name.startswith(("packs/", "index/")):
            house.first.destination.put(listed.name, local(house.folder / "spool").get(listed.name))
    lost = max(set(packs(house.first)) - set(before), key=lambda name: sizes(house)[name])
    house.first.destination.delete(lost)
    looked_up.clear()
    repository, _ = capture(house, 1)
    assert looked_up
    assert restored(opened_to_read(house), repository.snapshots()[-1]) == FILES


def test_a_folder_that_can_not_be_written_to_costs_a_look_and_no_capture(house: House, looked_up: list[int]) -> None:
    capture(house, 0)
    for noted in repository_memory(house).iterdir():
        noted.unlink()
    repository_memory(house).rmdir()
    repository_memory(house).write_text("a file in the way")
    capture(house, 1)
    looked_up.clear()
    _, made = capture(house, 2)
    assert looked_up
    assert made.opened == []
    assert opened(house.first.destination, 2).snapshot_ids()[-1] == about(2).id

"""An upload that trusts what its capture noted of its packs, as long as they are all still there."""

from __future__ import annotations

import pytest

from tasks.destinations import Data
from tasks.errors import Condemned
from tasks.repository import reliance
from tests.memory_source import MemoryCapture
from tests.passing_destination import Passing
from tests.repositories import about, local, packs, restored
from tests.unit.repository.house import FIRST, MIB, SECOND, House, assert_holds, day, noise, opened


class Listened(Passing):
    """Counts what is read of packs."""

    reads = 0

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.reads += name.startswith("packs/")
        return super().get(name, offset, length)


def test_no_list_is_walked_where_all_that_a_capture_may_rely_on_is_still_there(house: House) -> None:
    house.night(FIRST, 0, house.first, house.second)
    spooled, again = house.capture(SECOND, 1)
    for destination in (house.first, house.second):
        here, to = Listened(spooled.destination), Listened(destination.destination)
        expected = len(set(again.packs) - {name[-32:] for name in packs(destination)})
        assert opened(here, 1).copy(again.id, opened(to, 1))["packs"] == expected > 0
        assert here.reads == expected, "each pack that is sent, once, and nothing to look through"
        assert to.reads == 0
        assert_holds(destination, again, SECOND)


def test_what_is_lost_over_there_is_noticed_and_counts_only_if_it_is_needed(house: House) -> None:
    house.night({b"z": noise(9, MIB)}, 0, house.first, house.second)
    unneeded = packs(house.second)
    house.night(FIRST, 1, house.first, house.second)
    needed = [name for name in packs(house.second) if name not in unneeded]
    spooled, again = house.capture(FIRST, 2)
    house.second.destination.delete(unneeded[0])
    assert spooled.copy(again.id, opened(house.second.destination, 2))["packs"] == 0, "as the new list is the old one"
    house.second.destination.delete(f"snapshots/{again.id}")
    house.second.destination.delete(needed[0])
    assert spooled.copy(again.id, opened(house.second.destination, 2))["packs"] == 1, "the first has it"
    house.second.destination.delete(f"snapshots/{again.id}")
    for place in (house.first, house.second):
        place.destination.delete(needed[0])
    with pytest.raises(Condemned, match="lost"):
        spooled.copy(again.id, opened(house.second.destination, 2))
    assert again.id not in house.second.snapshot_ids()


def test_a_capture_says_anew_what_it_may_rely_on_where_a_killed_one_had_said_it(house: House) -> None:
    house.night(FIRST, 0, house.first)
    spool, (one, two) = local(house.folder / "spool"), (about(1), about(1))
    first = opened(house.first.destination, 1).save(MemoryCapture(SECOND), one, spool)
    before = reliance.noted(spool, house.first.keys, first)
    spool.delete(f"snapshots/{one.id}")
    house.night({b"y": noise(8, 1000)}, 2, house.first)
    second = opened(house.first.destination, 3).save(MemoryCapture(SECOND), two, spool)
    after = reliance.noted(spool, house.first.keys, second)
    assert before is not None
    assert after is not None
    assert before < after
    assert {pack.hex() for pack in after} >= {name[-32:] for name in packs(house.first)}


@pytest.mark.parametrize("needed", [False, True])
def test_a_pack_that_is_found_damaged_during_a_copy_stops_it_only_if_it_is_needed(house: House, needed: bool) -> None:
    house.night({b"z": noise(9, MIB)}, 0, house.second)
    other = packs(house.second)
    house.night(FIRST, 1, house.second)
    mine = [name for name in packs(house.second) if name not in other]
    sizes = {listed.name: listed.size for listed in house.second.destination.list("packs/")}
    damaged = max(mine if needed else other, key=sizes.__getitem__)
    spooled, again = house.capture(SECOND, 2, house.second)

    class Verified(Passing):
        """Once a pack has come, a verify finds another one damaged."""

        def put(self, name: str, data: Data) -> None:
            super().put(name, data)
            if name.startswith("packs/"):
                house.second.condemn_damaged([bytes.fromhex(damaged[-32:])], day(2))

    to = opened(Verified(house.second.destination), 2)
    if needed:
        with pytest.raises(Condemned):
            spooled.copy(again.id, to)
        assert again.id not in house.second.snapshot_ids()
    else:
        assert spooled.copy(again.id, to)["packs"] > 0
        assert restored(house.second, again) == SECOND


@pytest.mark.parametrize("lost", ["missing", "damaged"])
def test_without_what_was_noted_the_list_is_walked(house: House, lost: str) -> None:
    house.night(FIRST, 0, house.first, house.second)
    spooled, again = house.capture(SECOND, 1)
    spool, name = local(house.folder / "spool-1"), f"reliance/{again.id}"
    spool.delete(name)
    if lost == "damaged":
        spool.put(name, b"GBO1 and then something else entirely")
    here = Listened(spooled.destination)
    sent = opened(here, 1).copy(again.id, opened(house.second.destination, 1))["packs"]
    assert here.reads > sent > 0
    assert_holds(house.second, again, SECOND)

"""Listings are complete and sorted by the whole name, whatever the prefix."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.destinations.destination import Destination, Listed, is_name
from tasks.errors import Refused


class DestinationListing:
    many = 2300
    """More than any store lists at once."""
    unfinished_listings = 300

    def test_an_empty_destination_lists_nothing(self, destination: Destination) -> None:
        assert list(destination.list()) == []
        assert list(destination.list("packs/")) == []
        assert list(destination.list("packs/0a")) == []

    def test_thousands_of_objects_are_all_listed_in_order(self, destination: Destination) -> None:
        names = [f"packs/{n % 7:02x}/{n:05}" for n in range(self.many)] + [f"index/{n:05}" for n in range(200)]
        random.Random(5).shuffle(names)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda name: destination.put(name, name.encode()), names))
        assert list(destination.list()) == [Listed(name, len(name)) for name in sorted(names)]
        for prefix in ("packs/", "packs/0", "packs/03", "packs/03/", "packs/03/0", "packs/03/00003", "index/001", "i"):
            expected = [name for name in sorted(names) if name.startswith(prefix)]
            assert expected
            assert [each.name for each in destination.list(prefix)] == expected, prefix

    def test_the_order_is_that_of_whole_names_not_of_folders(self, destination: Destination) -> None:
        # `-` and `.` come before `/`, digits and letters after it.
        ordered = [
            "b-0",
            "b-0.x",
            "b-1/z",
            "b.0/y",
            "b/-0",
            "b/0",
            "b/0-/z",
            "b/0./z",
            "b/00",
            "b0/a",
            "bA",
            "b_",
            "ba",
        ]
        for name in reversed(ordered):
            destination.put(name, b"")
        assert [each.name for each in destination.list()] == ordered
        assert [each.name for each in destination.list("b/")] == ordered[4:9]
        assert [each.name for each in destination.list("b/0")] == ordered[5:9]
        assert [each.name for each in destination.list("b-")] == ordered[:3]

    def test_any_names_are_listed_in_order_by_any_prefix(self, destination: Destination) -> None:
        chance = random.Random(11)
        names: set[str] = set()
        while len(names) < 150:
            name = "".join(chance.choices("ab0Z-._//", k=chance.randint(1, 9)))
            clash = any(one.startswith(f"{other}/") for known in names for one, other in ((name, known), (known, name)))
            if is_name(name) and not clash:
                names.add(name)
        for name in sorted(names, key=hash):
            destination.put(name, name.encode())
        for prefix in {name[:end] for name in names for end in range(len(name) + 1)}:
            expected = [Listed(name, len(name)) for name in sorted(names) if name.startswith(prefix)]
            assert list(destination.list(prefix)) == expected, prefix

    def test_a_whole_name_is_a_prefix_too(self, destination: Destination) -> None:
        destination.put("a/b", b"1")
        destination.put("a/bc", b"12")
        assert list(destination.list("a/b")) == [Listed("a/b", 1), Listed("a/bc", 2)]
        assert list(destination.list("a/b/")) == []

    @pytest.mark.parametrize(
        "prefix", ["/", "..", "../", "a/../", "a//", ".", ".tmp/", "a/.", "é", "a b", "\0", "a" * 201]
    )
    def test_a_prefix_that_no_name_can_have_is_refused(self, destination: Destination, prefix: str) -> None:
        with pytest.raises(Refused):
            list(destination.list(prefix))

    def test_a_listing_that_is_not_finished_does_no_harm(self, destination: Destination) -> None:
        for n in range(20):
            destination.put(f"a/{n % 3}/{n:02}", b"")
        for _ in range(self.unfinished_listings):
            assert next(destination.list()).name == "a/0/00"
        assert len(list(destination.list())) == 20

    def test_what_is_put_meanwhile_does_not_disturb_a_listing(self, destination: Destination) -> None:
        names = [f"{n % 5}/{n:03}" for n in range(0, 200, 2)]
        for name in names:
            destination.put(name, b"")
        listing = destination.list()
        seen = [next(listing).name]
        for n in range(1, 200, 2):
            destination.put(f"{n % 5}/{n:03}", b"")
        seen += [each.name for each in listing]
        assert seen == sorted(set(seen))
        assert set(names) <= set(seen)

"""What the contract leaves open about an overlay: which half is asked for what, and when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.destinations import Data, Destination, Listed, Local, Overlay
from tasks.destinations.local import LocalSettings
from tasks.errors import Damaged, Exists, Missing, Refused, Unavailable
from tests.faulty_destination import FaultyDestination


@pytest.fixture
def first(tmp_path: Path) -> Destination:
    (tmp_path / "first").mkdir()
    return Local(LocalSettings(path=tmp_path / "first"))


@pytest.fixture
def then(tmp_path: Path) -> Destination:
    (tmp_path / "then").mkdir()
    return Local(LocalSettings(path=tmp_path / "then"))


def test_it_reads_the_first_that_has_the_name(first: Destination, then: Destination) -> None:
    first.put("both", b"first")
    then.put("both", b"then, longer")
    then.put("below", b"then")
    overlay = Overlay(first, then)
    assert overlay.get("both") == b"first"
    assert overlay.get("both", 5) == b""
    assert overlay.get("below", 1, 2) == b"he"
    with pytest.raises(Missing):
        overlay.get("neither")


def test_damage_in_the_first_is_not_covered_up_by_the_other(first: Destination, then: Destination) -> None:
    first.put("both", b"cut")
    then.put("both", b"cut off")
    with pytest.raises(Damaged):
        Overlay(first, then).get("both", 0, 7)


def test_each_name_is_listed_once_as_it_is_read(first: Destination, then: Destination) -> None:
    for name in ("a/1", "a/3", "b-x", "c"):
        first.put(name, b"1")
    for name in ("a/0", "a/1", "a/2", "b/x", "c"):
        then.put(name, b"22")
    expected = [("a/0", 2), ("a/1", 1), ("a/2", 2), ("a/3", 1), ("b-x", 1), ("b/x", 2), ("c", 1)]
    assert [tuple(each) for each in Overlay(first, then).list()] == expected
    assert [tuple(each) for each in Overlay(first, then).list("a/")] == expected[:4]


def test_it_puts_into_the_first_and_never_hides_what_the_other_has(first: Destination, then: Destination) -> None:
    overlay = Overlay(first, then)
    overlay.put("new", b"1")
    assert first.get("new") == b"1"
    assert list(then.list()) == []
    then.put("old", b"2")
    with pytest.raises(Exists, match="old"):
        overlay.put("old", b"3")
    assert overlay.get("old") == b"2"
    assert [each.name for each in first.list()] == ["new"]


def test_it_deletes_nothing(first: Destination, then: Destination) -> None:
    first.put("a", b"1")
    then.put("b", b"2")
    for name in ("a", "b", "c"):
        with pytest.raises(Refused, match=name):
            Overlay(first, then).delete(name)
    assert first.get("a") + then.get("b") == b"12"


def test_a_half_that_is_gone_is_never_taken_for_empty(first: Destination, then: Destination) -> None:
    first.put("a", b"1")
    then.put("b", b"2")
    for overlay in (
        Overlay(FaultyDestination(first, gone_after=0), then),
        Overlay(first, FaultyDestination(then, gone_after=0)),
    ):
        with pytest.raises(Unavailable):
            list(overlay.list())
        with pytest.raises(Unavailable):
            overlay.put("c", b"3")
        with pytest.raises(Unavailable):
            overlay.get("c")


def test_what_moves_from_the_first_to_the_other_while_it_is_listed_is_seen(
    first: Destination, then: Destination
) -> None:
    names = [f"{n:03}" for n in range(50)]
    for name in names:
        first.put(name, b"x")

    class MovesAsItIsListed(FaultyDestination):
        """Uploads all that is left of the spool once its first name was seen: the worst moment."""

        def list(self, prefix: str = "") -> Iterator[Listed]:
            for number, each in enumerate(first.list(prefix)):
                yield each
                if number == 0:
                    for name in names:
                        then.put(name, b"x")
                        first.delete(name)

    assert [each.name for each in Overlay(MovesAsItIsListed(first), then).list()] == names


def test_it_holds_no_more_of_the_other_than_it_has_given(first: Destination) -> None:
    given = 0

    class Counting:
        """Counts what has been asked for of its listing."""

        def list(self, prefix: str = "") -> Iterator[Listed]:
            nonlocal given
            for given in range(1, 10_000):
                yield Listed(f"{given:09}", 0)

        def put(self, name: str, data: Data) -> None:
            raise Unavailable(name)

        def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            raise Unavailable(name)

        def delete(self, name: str) -> None:
            raise Unavailable(name)

    first.put("000000003", b"first")
    listing = Overlay(first, Counting()).list()
    assert [next(listing) for _ in range(4)][2] == Listed("000000003", 5)
    assert given < 7

"""Several packs at once: never more than may be held, and nothing is begun once something has failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tasks.errors import Unavailable
from tasks.repository.flights import AT_ONCE, ahead, fly


def test_as_many_fly_as_may_and_no_more_are_even_taken_from_the_list() -> None:
    lock, flying, most, taken = threading.Lock(), 0, 0, 0
    landed: list[tuple[int, int]] = []

    def packs() -> Iterator[int]:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield number

    def work(number: int) -> int:
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
            assert taken <= len(landed) + 2 * AT_ONCE
        time.sleep(0.01)
        with lock:
            flying -= 1
        return number * 2

    fly(work, packs(), lambda number, result: landed.append((number, result)))
    assert sorted(landed) == [(number, number * 2) for number in range(40)]
    assert most == AT_ONCE


def test_the_first_error_is_raised_after_those_under_way_have_landed_and_none_was_begun() -> None:
    begun, ended, landed = list[int](), list[int](), list[int]()
    slow = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 2:
            threading.Timer(0.1, slow.set).start()
            raise Unavailable("the network is gone")
        slow.wait(5)
        ended.append(number)

    with pytest.raises(Unavailable, match="the network is gone"):
        fly(work, range(100), lambda number, _: landed.append(number))
    assert sorted(begun) == list(range(AT_ONCE))
    assert sorted(ended) == sorted(landed) == [number for number in range(AT_ONCE) if number != 2]


def test_whoever_watches_may_stop_it_also_while_nothing_lands(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step whose lease was lost must not go on until its next pack is through."""
    monkeypatch.setattr("tasks.repository.flights._LOOK_SECONDS", 0.02)
    release, begun = threading.Event(), list[int]()

    def work(number: int) -> None:
        begun.append(number)
        release.wait(5)

    class Stop(Exception):
        pass

    def look() -> None:
        release.set()
        raise Stop

    with pytest.raises(Stop):
        fly(work, range(100), lambda number, _: None, look)
    assert len(begun) == AT_ONCE


def test_nothing_to_do_is_done_at_once() -> None:
    fly(lambda number: number, [], lambda number, _: pytest.fail("nothing was there"))


def test_what_is_read_ahead_comes_in_order_and_no_more_of_it_than_may() -> None:
    lock, begun = threading.Lock(), list[int]()

    def work(number: int) -> int:
        with lock:
            begun.append(number)
        time.sleep(0.02 * (number % 3))
        return number * 2

    found = list[int]()
    for each in ahead(work, range(40)):
        found.append(each)
        assert len(begun) <= len(found) + 8
    assert found == [number * 2 for number in range(40)]


def test_small_things_are_under_way_together_and_a_large_one_waits_for_its_turn() -> None:
    together = threading.Barrier(4)
    here = threading.get_ident()
    by: dict[int, int] = {}

    def work(number: int) -> int:
        by[number] = threading.get_ident()
        if number < 4:
            together.wait(10)
        return number

    assert list(ahead(work, range(6), is_small=lambda number: number != 4)) == list(range(6))
    assert by[4] == here
    assert here not in {by[number] for number in (0, 1, 2, 3, 5)}


def test_an_error_comes_at_its_turn() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise Unavailable("gone")
        return number

    found = ahead(work, range(100))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Unavailable, match="gone"):
        next(found)

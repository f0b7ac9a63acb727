"""Names by the hundred thousand: sorted runs and a growing set, beside Python's own set."""

from __future__ import annotations

import random

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.repository.names import NameSet, SortedNames, halves

FEW_HALVES = st.sampled_from([bytes(8), b"\xff" * 8, b"\x80" + bytes(7), b"\x7f" + b"\xff" * 7, b"middle.."])
CLOSE_NAMES = st.lists(st.tuples(FEW_HALVES, FEW_HALVES | st.binary(min_size=8, max_size=8)).map(b"".join))


def sorted_names(names: list[bytes]) -> SortedNames:
    high, low = halves(b"".join(names))
    order = numpy.argsort(high, kind="stable")
    return SortedNames(high[order], low[order])


@given(kept=CLOSE_NAMES, asked=CLOSE_NAMES)
def test_names_with_equal_halves_are_told_apart(kept: list[bytes], asked: list[bytes]) -> None:
    names = sorted_names(kept)
    rows = names.rows(b"".join([*kept, *asked]))
    assert len(names) == len(kept)
    for name, row in zip([*kept, *asked], rows, strict=True):
        assert (row >= 0) == (name in kept)
        assert row == names.row(name)
        if row >= 0:
            assert names.name(int(row)) == name


@given(CLOSE_NAMES)
def test_joined_rows_are_the_names(kept: list[bytes]) -> None:
    names = sorted_names(kept)
    joined = names.joined(numpy.arange(len(kept)))
    assert sorted(joined[at : at + 16] for at in range(0, len(joined), 16)) == sorted(kept)


def test_no_name_is_in_an_empty_run() -> None:
    empty = sorted_names([])
    assert empty.row(bytes(16)) == -1
    assert list(empty.rows(bytes(32))) == [-1, -1]
    assert list(empty.rows(b"")) == []


def test_a_set_of_names_is_a_set() -> None:
    chance = random.Random(7)
    names, plain = NameSet(), set()
    # Every third one comes a second time, some of them long after they went into a sorted run.
    made = [chance.randbytes(16) for _ in range(300_000)]
    for at, name in enumerate(made):
        assert names.add(name) == (name not in plain)
        plain.add(name)
        if at % 3 == 0:
            earlier = made[chance.randrange(at + 1)]
            assert not names.add(earlier)


@pytest.mark.parametrize("young", [1, 2, 3, 7])
@given(CLOSE_NAMES)
def test_runs_that_merge_often_lose_nothing(young: int, added: list[bytes]) -> None:
    names, plain = NameSet(), set()
    names._YOUNG = young
    for name in added + added[::-1]:
        assert names.add(name) == (name not in plain)
        plain.add(name)


@pytest.mark.parametrize("young", [1, 2, 3, 7, 1 << 16])
@given(st.lists(CLOSE_NAMES, max_size=5))
def test_many_names_at_once_are_added_as_one_by_one(young: int, batches: list[list[bytes]]) -> None:
    at_once, single = NameSet(), NameSet()
    at_once._YOUNG = single._YOUNG = young
    for batch in batches:
        added = at_once.add_all(batch, list(range(len(batch))))
        assert added == [at for at, name in enumerate(batch) if single.add(name)]


def test_of_many_names_only_those_at_the_places_are_added() -> None:
    names, made = NameSet(), [bytes([at]) * 16 for at in range(9)]
    assert names.add_all(made, [1, 4, 5]) == [1, 4, 5]
    assert names.add_all(made, list(range(9))) == [0, 2, 3, 6, 7, 8]

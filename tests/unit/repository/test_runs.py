"""Sorted runs of columns, and many of them as one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.numbers import SLICE, Numbers, numpy
from tasks.repository import runs
from tasks.repository.runs import Column, Growing, Run, merged, sorted_run

GREATEST = (1 << 64) - 1
FIRST = st.sampled_from([0, 1, 1 << 62, 1 << 63, (1 << 63) - 1, GREATEST]) | st.integers(0, GREATEST)
LISTS = st.lists(st.lists(FIRST, max_size=20), min_size=1, max_size=5)


def made(lists: list[list[int]]) -> list[Run]:
    """Each a run; the second column tells which row of which list it was."""
    columns = [
        (numpy.array(first, "u8"), numpy.arange(len(first), dtype="u4") + 100 * at) for at, first in enumerate(lists)
    ]
    return [sorted_run(each) for each in columns]


def rows(run: Run) -> list[tuple[int, ...]]:
    return list(zip(*(column.tolist() for column in run), strict=True))


def in_order(lists: list[list[int]]) -> list[tuple[int, int]]:
    return sorted((first, 100 * at + row) for at, each in enumerate(lists) for row, first in enumerate(each))


@given(st.lists(FIRST, max_size=20))
def test_a_run_is_sorted_and_equal_ones_keep_their_order(first: list[int]) -> None:
    assert rows(made([first])[0]) == in_order([first])


@pytest.mark.parametrize("together", [1, 3, SLICE])
@given(LISTS)
def test_runs_as_one_are_what_they_were_sorted_together(together: int, lists: list[list[int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "SLICE", together)
        assert rows(merged(made(lists))) == in_order(lists)


@pytest.mark.parametrize("young", [1, 5, 1 << 16])
@given(LISTS)
def test_rows_that_were_asked_for_between_stay_as_they_were(young: int, lists: list[list[int]]) -> None:
    growing, given_before = Growing("QI"), list[tuple[Run, list[tuple[int, ...]]]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_YOUNG", young)
        for at, first in enumerate(lists):
            growing.add([numpy.array(first, "u8"), numpy.arange(len(first), dtype="u4") + 100 * at])
            run = growing.rows()
            assert rows(run) == in_order(lists[: at + 1])
            given_before.append((run, rows(run)))
    assert all(rows(run) == before for run, before in given_before)


def test_rows_that_could_not_be_sorted_are_not_taken_for_all_there_are() -> None:
    growing = Growing("Q")
    for _ in range(2):
        growing.add([numpy.arange(5, dtype="u8")])
        growing._set_aside()

    def interrupted(column: Numbers, part: slice) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "let_go", interrupted)
        with pytest.raises(KeyboardInterrupt):
            growing.rows()
    with pytest.raises(IndexError):
        growing.rows()


def large(count: int, *starts: int) -> list[Run]:
    """Runs of so many rows, each in maps of its own, of which the first column is spread evenly from a start on."""
    step = GREATEST // (count + 1)
    return [
        sorted_run([numpy.arange(count, dtype="u8") * numpy.uint64(step) + numpy.uint64(start)] * 2) for start in starts
    ]


def test_the_memory_of_runs_goes_while_they_become_one_but_of_those_that_are_kept() -> None:
    count = 4 * SLICE
    kept, gone = large(count, 1, 2)
    whole = [column.copy() for column in kept]
    one = merged([kept, gone], kept=1)
    assert all((column == before).all() for column, before in zip(kept, whole, strict=True))
    assert (one[0] == one[1]).all()
    assert (numpy.diff(one[0]) > 0).all()
    assert [left(column) for column in gone] == [0, 0]


def left(column: Numbers) -> int:
    """Of its whole pages, how many bytes still hold something."""
    return int(numpy.count_nonzero(column[: len(column) // 512 * 512]))


def test_a_single_run_is_taken_as_it_is() -> None:
    (run,) = large(10, 5)
    empty = [numpy.empty(0, "u8"), numpy.empty(0, "u8")]
    assert merged([empty, run]) is run
    assert rows(merged([empty])) == []


@pytest.mark.parametrize("young", [1, 5, 1 << 16])
@given(st.lists(st.lists(st.integers(0, (1 << 32) - 1), max_size=20), max_size=5))
def test_a_column_is_what_was_added_in_order_and_stays_as_it_was_given(young: int, lists: list[list[int]]) -> None:
    column, all_of_them, given_before = Column("I", [7]), [7], list[tuple[Numbers, list[int]]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_YOUNG", young)
        for at, each in enumerate(lists):
            column.add(numpy.array(each, "u4"))
            all_of_them += each
            assert column.last == all_of_them[-1]
            if at % 2:
                given_before.append((column.numbers(), list(all_of_them)))
        given_before.append((column.numbers(), list(all_of_them)))
    assert all(numbers.tolist() == before for numbers, before in given_before)

"""A recovery sheet that was typed with a mistake: which group to look at again is told, and never what was typed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import WrongKey
from tasks.repository.recovery_sheet import printed, seed_of
from tests.repositories import keys

SHEET = printed(bytes(range(7, 39)))
GROUPS = SHEET.split()
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def told(groups: list[str], around: str = "{}") -> str:
    with pytest.raises(WrongKey) as caught:
        seed_of(around.format(" ".join(groups)))
    message = str(caught.value)
    assert message.startswith("the recovery sheet is mistyped")
    assert message.endswith("compare it with what was printed; it has 14 groups of 4 letters and digits (A-Z, 2-7)")
    assert not any(group in message for group in groups if len(group) > 2)
    return message


def places(groups: list[str], around: str = "{}") -> list[int]:
    return [int(number) for number in re.findall(r"group (\d+)", told(groups, around))]


def with_group(number: int, group: str) -> list[str]:
    return [*GROUPS[: number - 1], group, *GROUPS[number:]]


def test_what_is_printed_is_read() -> None:
    assert seed_of(SHEET) == bytes(range(7, 39))
    assert keys().sheet == printed(keys().reader.seed)


@given(number=st.integers(1, 14), at=st.integers(0, 3), letter=st.sampled_from(LETTERS + "0189"))
def test_one_wrong_letter_is_found(number: int, at: int, letter: str) -> None:
    group = GROUPS[number - 1]
    if group[at] != letter:
        assert places(with_group(number, group[:at] + letter + group[at + 1 :])) == [number]


@pytest.mark.parametrize("around", ["{}", "Print it and lock it away\n\n    {}\n\nNext: check.", "Sheet {}"])
def test_a_letter_that_is_missing_or_too_many_and_two_that_changed_places_are_found(around: str) -> None:
    for number, group in enumerate(GROUPS, 1):
        for odd in (group[:2] + group[3:], group[:2] + ("A" if group[1:3] != "AA" else "B") + group[2:]):
            (place,) = places(with_group(number, odd), around)
            assert abs(place - number) <= 1  # where letters are the same, it may be the one beside it
        if group[0] != group[1]:
            assert places(with_group(number, group[1] + group[0] + group[2:]), around) == [number]


def test_digits_that_are_on_no_sheet_are_each_told() -> None:
    groups = with_group(3, "0" + GROUPS[2][1:])
    groups[8] = groups[8][:3] + "1"
    message = told(groups)
    assert "in group 3 (a 0 is never on it: an O?), group 9 (a 1 is never on it: an I or an L?):" in message


def test_several_groups_of_another_length_are_told() -> None:
    groups = with_group(2, GROUPS[1][:3])
    groups[10] += "A"
    groups[12] = groups[12][:2]
    assert places(groups) == [2, 11, 13]


def test_of_two_wrong_letters_no_place_is_made_up() -> None:
    flipped = {letter: LETTERS[number ^ 1] for number, letter in enumerate(LETTERS)}
    groups = with_group(2, flipped[GROUPS[1][0]] + GROUPS[1][1:])
    groups[10] = flipped[groups[10][0]] + groups[10][1:]
    assert places(groups) == []

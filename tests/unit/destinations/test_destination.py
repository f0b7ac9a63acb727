"""Names, prefixes and ranges: what every destination checks in the same way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.destinations.destination import check_name, check_prefix, check_range, is_name
from tasks.errors import Damaged, Refused

NAMES = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,5}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,5}){0,4}", fullmatch=True)


@given(st.text(max_size=30))
def test_a_name_never_leads_anywhere_else(name: str) -> None:
    if is_name(name):
        assert name.isascii()
        assert not any(segment.startswith(".") or segment == "" for segment in name.split("/"))
        assert check_name(name) == name
    else:
        with pytest.raises(Refused):
            check_name(name)


@given(NAMES)
def test_every_start_of_a_name_is_a_prefix(name: str) -> None:
    for end in range(len(name) + 1):
        assert check_prefix(name[:end]) == name[:end]


@given(st.text(alphabet="ab./-", max_size=8))
def test_a_prefix_that_no_name_starts_with_is_refused(prefix: str) -> None:
    if any(is_name(prefix + rest) for rest in ("", "a", "/a")):
        assert check_prefix(prefix) == prefix
    else:
        with pytest.raises(Refused):
            check_prefix(prefix)


@pytest.mark.parametrize("length", [200, 201])
def test_a_segment_has_200_characters_at_most(length: int) -> None:
    assert is_name("a" * length) == (length == 200)
    assert is_name(f"b/{'a' * length}/c") == (length == 200)


def test_a_name_has_900_characters_at_most() -> None:
    name = "/".join(["a" * 200] * 4) + "/" + "b" * 96
    assert len(name) == 900
    assert is_name(name)
    assert not is_name(name + "b")


def test_a_refused_name_is_shown_in_one_line_and_not_at_full_length() -> None:
    with pytest.raises(Refused) as caught:
        check_name("a\n\x1b[2J" + "x" * 5000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=20), st.integers(0, 30), st.none() | st.integers(0, 30))
def test_a_range_is_as_long_as_the_slice_or_it_is_damage(data: bytes, offset: int, length: int | None) -> None:
    end = len(data) if length is None else offset + length
    if offset > len(data) or end > len(data):
        with pytest.raises(Damaged, match="packs/one"):
            check_range("packs/one", len(data), offset, length)
    else:
        assert check_range("packs/one", len(data), offset, length) == len(data[offset:end])

"""How much of what was copied there a moment ago is written to the disk at once."""

from __future__ import annotations

import pytest

from tasks.sources import mapped_writes
from tasks.sources.mapped_writes import LaterWrites

MINUTE = 60_000_000_000


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    files: list[int] = []
    monkeypatch.setattr(mapped_writes, "_begin_to_write", lambda number, *_: files.append(number))
    return files


def test_what_has_rested_for_a_minute_is_let_be(begun: list[int]) -> None:
    later = LaterWrites()
    for number, changed in enumerate((0, MINUTE - 1, MINUTE, MINUTE + 1, 2 * MINUTE)):
        later.show(number, changed, 1, 2 * MINUTE - 1)
    assert begun == [2, 3, 4]


def test_of_very_many_or_very_much_only_some_is_begun_to_be_written(begun: list[int]) -> None:
    many, much = LaterWrites(files=3), LaterWrites(size=100)
    for number in range(5):
        many.show(number, 0, 1, 1)
    for number in range(5):
        much.show(10 + number, 0, 40, 1)
    assert begun == [0, 1, 2, 10, 11, 12]

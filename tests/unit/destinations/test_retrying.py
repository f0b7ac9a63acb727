"""What is tried again, what is not, and what a second try makes of what the first has left."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.destinations import Local
from tasks.destinations.destination import Data
from tasks.destinations.remote import RemoteSettings
from tasks.destinations.retrying import Retrying
from tasks.errors import BackupError, Exists, Missing, NoStore, Refused, Unavailable
from tests.faulty_destination import Faults, FaultyDestination

SETTINGS = RemoteSettings(kind="test", deadline=timedelta(seconds=1))


class Failing:
    """Raises the same whatever is asked, and counts."""

    def __init__(self, error: BackupError) -> None:
        self.error, self.asked = error, Counter[str]()

    def put(self, name: str, data: Data) -> None:
        self.asked["put"] += 1
        raise self.error

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.asked["get"] += 1
        raise self.error

    def list(self, prefix: str = "") -> None:
        self.asked["list"] += 1
        raise self.error

    def delete(self, name: str) -> None:
        self.asked["delete"] += 1
        raise self.error


@pytest.mark.parametrize("error", [Refused("no"), NoStore("no bucket"), Missing("gone")])
def test_what_is_for_good_is_asked_once(error: BackupError) -> None:
    inner = Failing(error)
    retrying = Retrying(inner, SETTINGS, first_pause=0.01)  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        retrying.put("a", b"x")
    with pytest.raises(type(error)):
        retrying.get("a")
    with pytest.raises(type(error)):
        retrying.delete("a")
    assert inner.asked == {"put": 1, "get": 1, "delete": 1}


def test_what_never_answers_is_given_up_at_the_deadline() -> None:
    inner = Failing(Unavailable("no answer"))
    with pytest.raises(Unavailable, match="no answer"):
        Retrying(inner, SETTINGS, first_pause=0.05).get("a")  # type: ignore[arg-type]
    assert inner.asked["get"] > 2


def test_a_write_whose_answer_was_lost_is_no_error(local: Local) -> None:
    faulty = FaultyDestination(local, 1, Faults(lost_reply=1), patience=1)
    retrying = Retrying(faulty, SETTINGS, first_pause=0.01)
    retrying.put("a", b"content")
    assert [fault.what for fault in faulty.happened] == ["lost_reply"]
    assert local.get("a") == b"content"
    retrying.delete("a")
    assert list(local.list()) == []


def test_a_file_whose_answer_was_lost_is_no_error(local: Local, finished: Path) -> None:
    faulty = FaultyDestination(local, 1, Faults(lost_reply=1), patience=1)
    Retrying(faulty, SETTINGS, first_pause=0.01).put("a", finished)
    assert local.get("a") == finished.read_bytes()


def test_a_name_taken_by_another_stays_taken_also_on_a_second_try(local: Local) -> None:
    local.put("a", b"of another")
    faulty = FaultyDestination(local, 3, Faults(unavailable=1), patience=1)
    with pytest.raises(Exists):
        Retrying(faulty, SETTINGS, first_pause=0.01).put("a", b"own")
    assert local.get("a") == b"of another"
    with pytest.raises(Exists):
        Retrying(FaultyDestination(local), SETTINGS).put("a", b"of another")


def test_a_listing_that_breaks_off_goes_on_where_it_was(local: Local) -> None:
    names = [f"a/{n}" for n in range(9)]
    for name in names:
        local.put(name, b"")
    faulty = FaultyDestination(local, 5, Faults(unavailable=1), patience=2)
    assert [each.name for each in Retrying(faulty, SETTINGS, first_pause=0.01).list()] == names
    assert [fault.name for fault in faulty.happened] == [" after None"] * 2 + [" after a/2"] * 2 + [" after a/5"] * 2
    assert faulty.operations == 9

"""Restores to where something is, or comes meanwhile: it is left as it is unless it may be overwritten."""

from __future__ import annotations

import os

import pytest

from tests.flows.house import House
from tests.flows.test_shared_restores import (
    FOREIGN,
    ask,
    assert_restored,
    captured,
    close_gate,
    outcome,
    parts,
    reached,
    restorer,
)
from tests.flows.trees import state_of


@pytest.mark.parametrize("small", [False, True], ids=["divided", "whole"])
@pytest.mark.parametrize("name", ["weights05/010.bin", "link", "same.toml"])
def test_what_was_there_before_is_found_before_anything_is_written(house: House, name: str, small: bool) -> None:
    captured(house, small=small)
    there = house.folder / "back/models" / name
    there.parent.mkdir(parents=True)
    there.write_bytes(FOREIGN)
    before = state_of(house.folder / "back")
    restorer(house)
    ask(house)
    told = outcome(house)
    assert (told["state"], told["failure"]["kind"]) == ("failed", "Occupied")
    assert f"models/{name}" in told["failure"]["message"]
    assert "of a task, `overwrite`" in told["failure"]["message"]
    assert state_of(house.folder / "back") == before
    assert parts(house) == {}


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "killed"])
@pytest.mark.parametrize("small", [False, True], ids=["divided", "whole"])
def test_what_somebody_puts_there_meanwhile_is_not_taken_for_what_a_killed_worker_wrote(
    house: House, small: bool, killed: bool
) -> None:
    """Of the very size and time of what would be restored."""
    original = captured(house, small=small)
    closed = close_gate(house)
    first = restorer(house, "complete")
    ask(house)
    reached(house, closed)
    theirs = house.folder / "back/models/weights03/zz gate"
    assert not theirs.exists()
    theirs.write_bytes(FOREIGN.ljust(50_000))
    time_of = original["models/weights03/zz gate"][4]
    os.utime(theirs, ns=(time_of, time_of))
    if killed:
        first.kill()
        restorer(house)
    closed.unlink()
    told = outcome(house)
    assert (told["state"], told["failure"]["kind"]) == ("failed", "Occupied")
    assert ("part " in told["failure"]["message"]) == (not small)
    assert "models/weights03/zz gate" in told["failure"]["message"]
    assert theirs.read_bytes() == FOREIGN.ljust(50_000)
    assert theirs.stat().st_mtime_ns == time_of
    house.wait_for(lambda: not list((house.folder / "back").rglob(".geometra-*")), "an end without leftovers")


@pytest.mark.parametrize("small", [False, True], ids=["divided", "whole"])
def test_what_may_be_overwritten_is_replaced(house: House, small: bool) -> None:
    original = captured(house, small=small)
    for name in ("weights05/010.bin", "link", "same.toml"):
        there = house.folder / "back/models" / name
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(FOREIGN)
    restorer(house)
    ask(house, overwrite=True)
    assert_restored(house, original, least=0 if small else 4)


def test_folders_that_were_there_keep_what_they_are_and_what_is_in_them(house: House) -> None:
    original = captured(house)
    folder = house.folder / "back/models/weights04"
    folder.mkdir(parents=True)
    folder.chmod(0o711)
    (folder / "mine").write_bytes(FOREIGN)
    restorer(house)
    ask(house)
    assert outcome(house)["state"] == "done"
    found = state_of(house.folder / "back")
    assert found["models/weights04"][1] == 0o711
    assert found["models/weights04/mine"][5] == FOREIGN
    for name in ("models", "models/weights04", "models/weights04/mine"):
        found.pop(name)
        original.pop(name, None)
    assert found == original

"""What a destination promises between processes, and to those that are killed."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tasks.destinations.destination import Destination
from tasks.errors import Exists, Missing
from tests.contracts.child import FORK, Child, begun

MIB = 1 << 20
RACES = int(os.environ.get("GEOMETRA_BACKUP_RACES", "0"))
"""Rounds of two processes that put one name, where that is to be tried more often."""


class DestinationProcesses:
    rounds, kills, turns = 60, 20, 40
    """How often it is tried; fewer where each try is slow."""
    arrives_late = False
    """Whether what a killed writer had sent may be stored after its death, as by a server that has all of it."""

    @pytest.mark.timeout(120 + 2 * RACES)
    @pytest.mark.parametrize("as_file", [False, True], ids=["bytes", "file"])
    def test_of_two_processes_that_put_one_name_exactly_one_wins(
        self, destination: Destination, reopen: Callable[[], Destination], tmp_path: Path, as_file: bool
    ) -> None:
        together, rounds = FORK.Barrier(2), RACES or self.rounds

        def contend(number: int) -> list[bool]:
            own, file = reopen(), tmp_path / str(number)
            won = []
            for turn in range(rounds):
                content = _content(number, turn)
                file.unlink(missing_ok=True)
                file.write_bytes(content)
                together.wait(60)
                try:
                    own.put(f"race/{turn:04}", file if as_file else content)
                    won.append(True)
                except Exists:
                    won.append(False)
                assert own.get(f"race/{turn:04}") in (content, _content(1 - number, turn))
            return won

        contenders = [Child(partial(contend, number)) for number in (0, 1)]
        first, second = (child.result(60 + rounds) for child in contenders)
        for turn in range(rounds):
            assert first[turn] != second[turn], f"round {turn}: there must be one winner"
            assert destination.get(f"race/{turn:04}") == _content(0 if first[turn] else 1, turn)
        assert len(list(destination.list("race/"))) == rounds

    @pytest.mark.parametrize("as_file", [False, True], ids=["bytes", "file"])
    def test_an_object_is_whole_or_absent_whenever_its_writer_is_killed(
        self, destination: Destination, reopen: Callable[[], Destination], tmp_path: Path, as_file: bool
    ) -> None:
        content = random.Random(3).randbytes(24 * MIB)
        (tmp_path / "finished").write_bytes(content)
        data = tmp_path / "finished" if as_file else content

        def write(name: str) -> None:
            own = reopen()
            begun()
            own.put(name, data)

        started = time.monotonic()
        destination.put("kill/whole", data)
        usual = time.monotonic() - started
        chance = random.Random(4)
        absent = 0
        for turn in range(self.kills):
            name = f"kill/{turn:02}"
            Child(partial(write, name)).kill_after(chance.uniform(0, usual) if turn else 0)
            try:
                assert destination.get(name) == content
                listed = {each.name: each.size for each in destination.list()}
                assert listed[name] == len(content)
            except Missing:
                absent += 1
                listed = {each.name: each.size for each in destination.list()}
                assert self.arrives_late or name not in listed
                with suppress(*([Exists] if self.arrives_late else [])):
                    destination.put(name, data)
                assert destination.get(name) == content
            assert set(listed.values()) == {len(content)}
        assert absent, "no kill came in the middle: this test has shown nothing"
        assert [each.name for each in destination.list()] == [f"kill/{n:02}" for n in range(self.kills)] + [
            "kill/whole"
        ]

    def test_a_writer_of_many_objects_that_is_killed_leaves_whole_ones_only(
        self, destination: Destination, reopen: Callable[[], Destination]
    ) -> None:
        def write(turn: int) -> None:
            own = reopen()
            for number in range(100_000):
                if number == 2:
                    begun()
                own.put(f"many/{turn}/{number:06}", _content(turn, number))

        chance = random.Random(6)
        for turn in range(self.kills):
            Child(partial(write, turn)).kill_after(chance.uniform(0.01, 0.1))
        listed = list(destination.list())
        assert len(listed) > self.kills
        for turn in range(self.kills):
            names = [each.name for each in listed if each.name.startswith(f"many/{turn}/")]
            assert names == [f"many/{turn}/{number:06}" for number in range(len(names))], "one that was put is gone"
        for name, size in listed:
            _, turn_text, number_text = name.split("/")
            assert destination.get(name) == _content(int(turn_text), int(number_text))
            assert size == len(_content(0, 0))

    def test_a_client_can_be_used_on_both_sides_of_a_fork(self, destination: Destination) -> None:
        contents = {f"shared/{n:02}": random.Random(n).randbytes(50_000 + n) for n in range(16)}
        for name, content in contents.items():
            destination.put(name, content)

        def use(number: int) -> int:
            for turn in range(self.turns):
                name = f"shared/{(turn * 5 + number * 3) % 16:02}"
                assert destination.get(name) == contents[name]
                assert destination.get(name, turn, 100) == contents[name][turn : turn + 100]
                destination.put(f"own/{number}/{turn:02}", _content(number, turn))
                assert destination.get(f"own/{number}/{turn:02}") == _content(number, turn)
            return len(list(destination.list(f"own/{number}/")))

        children = [Child(partial(use, number)) for number in range(4)]
        assert use(4) == self.turns
        assert [child.result() for child in children] == [self.turns] * 4
        assert len(list(destination.list("own/"))) == 5 * self.turns


def _content(writer: int, number: int) -> bytes:
    return random.Random(writer * 1_000_003 + number).randbytes(200_000)

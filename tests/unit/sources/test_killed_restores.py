"""A restore into a folder that is ended in the middle: nothing is under its own name before it is whole, and the next
one succeeds."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import Occupied
from tasks.sources.folder_writer import FolderWriter
from tasks.sources.open_folders import Descriptor
from tasks.sources.source import Restoring
from tasks.sources.unfinished import Unfinished
from tests.contracts.child import FORK
from tests.unit.sources.stored_files import file, restore

LARGE = file(b"a", b"planted" * 1000)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "into"


def ended(by: signal.Signals, work: Callable[[], None], when: Callable[[], bool]) -> int:
    """The exit code of a process that does `work`, and gets a signal as soon as it is so far."""

    def child() -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        work()

    process = FORK.Process(target=child)
    process.start()
    while not when() and process.is_alive():
        time.sleep(0.001)
    os.kill(process.pid or 0, by)
    process.join(30)
    assert process.exitcode is not None
    return process.exitcode


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_a_half_written_file_has_a_name_of_its_own_and_goes_with_the_next_restore(
    into: Path, overwrite: bool, by: signal.Signals
) -> None:
    def work() -> None:
        with FolderWriter(into, Restoring(overwrite=overwrite)) as writer:
            writer.write(LARGE, 0, memoryview(b"plan"))
            time.sleep(30)

    def begun() -> bool:
        return into.is_dir() and any(path.stat().st_size for path in into.iterdir())

    assert ended(by, work, begun) == {signal.SIGTERM: 143, signal.SIGKILL: -9}[by]
    left = os.listdir(into)
    assert len(left) == (by == signal.SIGKILL)
    assert all(name.startswith(".geometra-restore-") for name in left)
    assert restore(into, LARGE, overwrite=overwrite) == []
    assert os.listdir(into) == ["a"]
    assert (into / "a").read_bytes() == LARGE.content


@pytest.mark.parametrize("after", [2, 20, 50, 100])
def test_of_many_small_files_each_is_there_as_it_was_or_not_at_all(into: Path, after: int) -> None:
    def work() -> None:
        with FolderWriter(into, Restoring()) as writer:
            for number in range(20_000):
                writer.whole(file(b"%d" % number), memoryview(b"planted"))

    def begun() -> bool:
        return into.is_dir() and len(os.listdir(into)) >= after

    assert ended(signal.SIGTERM, work, begun) == 143
    found = os.listdir(into)
    assert after - 1 <= len(found) < 20_000
    assert all((into / name).read_bytes() == b"planted" for name in found)
    assert not [name for name in found if name.startswith(".")]


def test_what_is_in_the_way_of_a_large_file_is_told_before_it_is_written(into: Path) -> None:
    into.mkdir()
    (into / "a").write_bytes(b"before")
    with FolderWriter(into, Restoring()) as writer, pytest.raises(Occupied, match="is there already"):
        writer.write(LARGE, 0, memoryview(b"plan"))
    assert os.listdir(into) == ["a"]
    assert (into / "a").read_bytes() == b"before"


def test_who_takes_the_name_of_a_file_meanwhile_keeps_it(into: Path) -> None:
    with FolderWriter(into, Restoring()) as writer:
        writer.write(LARGE, 0, memoryview(LARGE.content))
        (into / "a").write_bytes(b"somebody's")
        with pytest.raises(Occupied):
            writer.complete(LARGE)
    assert os.listdir(into) == ["a"]
    assert (into / "a").read_bytes() == b"somebody's"


@pytest.mark.parametrize("there", [True, False], ids=["was there before", "was just made"])
def test_a_signal_while_a_file_is_made_takes_away_only_what_was_made(into: Path, there: bool) -> None:
    class Interrupted(Unfinished):
        """By a signal that comes before the file is made, or right after."""

        def create(self, parent: Descriptor, written_as: bytes, name: bytes, mode: int) -> int:
            if name == b"b" and there:
                raise KeyboardInterrupt
            number = super().create(parent, written_as, name, mode)
            if name == b"b":
                os.close(number)
                raise KeyboardInterrupt
            return number

    into.mkdir()
    if there:
        (into / "b").touch()
        time.sleep(0.02)  # more than the clock of a file system ticks in
    with FolderWriter(into, Restoring(), Interrupted(overwrite=False)) as writer:
        writer.whole(file(b"a"), memoryview(b"planted"))
        with pytest.raises(KeyboardInterrupt):
            writer.whole(file(b"b"), memoryview(b"planted"))
    assert sorted(os.listdir(into)) == ["a", "b"][: 1 + there]

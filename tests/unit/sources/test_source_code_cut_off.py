"""A run that restores several repositories and is killed goes on: those that are there are its own."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import pytest

from tasks.errors import Occupied
from tasks.sources.source import Restoring
from tasks.sources.source_code import SourceCode
from tests.contracts.child import FORK
from tests.contracts.memory_items import Saved
from tests.flows.trees import state_of
from tests.git_sample import commit, init, made

pytestmark = pytest.mark.needs("git")

RUN = Restoring(run="the-run")


@pytest.fixture
def source(tmp_path: Path) -> SourceCode:
    repositories = [init(tmp_path / name) for name in ("first", "second", "third")]
    for repository in repositories:
        commit(repository, {f"{number}": os.urandom(10_000) for number in range(20)})
        (repository / "untracked").write_bytes(b"not committed")
    return made(*repositories)


@pytest.fixture
def saved(source: SourceCode) -> Saved:
    return Saved(source.capture())


def killed(source: SourceCode, saved: Saved, into: Path, when: Callable[[], bool]) -> None:
    process = FORK.Process(target=source.restore, args=(saved, saved, into, RUN))
    process.start()
    while not when() and process.is_alive():
        time.sleep(0.001)
    process.kill()
    process.join(30)
    time.sleep(0.1)  # git goes on for a moment


def test_one_that_was_cut_off_leaves_what_is_whole_and_makes_the_rest(
    source: SourceCode, saved: Saved, tmp_path: Path
) -> None:
    into = tmp_path / "copy"
    killed(source, saved, into, (into / "first").exists)
    before = (into / "first/untracked").stat()
    (into / "first/untracked").write_bytes(b"changed since")
    assert not (into / "third").exists()
    for how in (Restoring(), Restoring(overwrite=True), Restoring(run="another", again=True)):
        with pytest.raises(Occupied, match="is there already"):
            source.restore(saved, saved, into, how)
    assert source.restore(saved, saved, into, RUN) == []
    assert source.restore(saved, saved, into, RUN) == []
    source.forget_run(into, RUN)
    assert sorted(os.listdir(into)) == ["first", "second", "third"]
    assert list(into.rglob("*geometra*")) == []
    assert (into / "first/untracked").read_bytes() == b"changed since"
    (into / "first/untracked").write_bytes(b"not committed")
    os.utime(into / "first/untracked", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source.examine(into) == saved.facts


def test_killed_at_any_moment_it_ends_whole(source: SourceCode, saved: Saved, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    began = time.monotonic()
    source.restore(saved, saved, whole, Restoring())
    seconds, dice = time.monotonic() - began, random.Random(5)
    for attempt in range(5):
        into = tmp_path / f"copy {attempt}"
        for _ in range(2):
            over = Timer(seconds * dice.uniform(0.05, 0.9), str)
            over.start()
            killed(source, saved, into, over.finished.is_set)
        assert source.restore(saved, saved, into, RUN) == []
        source.forget_run(into, RUN)
        assert source.examine(into) == saved.facts
        assert {name.split("/")[0] for name in state_of(into)} == {name.split("/")[0] for name in state_of(whole)}


def test_one_that_somebody_put_there_meanwhile_is_not_taken_for_its_own(
    source: SourceCode, saved: Saved, tmp_path: Path
) -> None:
    into = tmp_path / "copy"
    killed(source, saved, into, (into / "first").exists)
    theirs = init(into / "third")
    commit(theirs, {"theirs": b"somebody's"})
    with pytest.raises(Occupied, match="third` is there already"):
        source.restore(saved, saved, into, RUN)
    assert (theirs / "theirs").read_bytes() == b"somebody's"
    assert list(into.rglob("*geometra*")) == []

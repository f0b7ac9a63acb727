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
from tasks.sources.git import cut_off
from tasks.sources.source import Restoring
from tasks.sources.source_code import SourceCode
from tests.contracts.child import FORK
from tests.contracts.memory_items import Saved
from tests.flows.trees import state_of
from tests.git_sample import commit, init, made, rich

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


def test_the_mark_of_a_run_that_nobody_went_on_with_is_not_captured_and_in_nobodys_way(tmp_path: Path) -> None:
    site = rich(tmp_path / "site")
    (site / ".git" / os.fsdecode(cut_off.NAME)).write_text('["an old run", []]')
    source = made(site)
    saved = Saved(source.capture())
    assert b"site/git/" + cut_off.NAME not in {item.entry.path for item in saved}
    source.restore(saved, saved, tmp_path / "copy", Restoring(run="new"))
    assert cut_off.found(os.fsencode(tmp_path / "copy/site"), "new") == []
    source.forget_run(tmp_path / "copy", Restoring(run="new"))
    assert source.examine(tmp_path / "copy") == saved.facts


@pytest.mark.parametrize("content", ["5", '"text"', "[1]", '["new", 5]', "", "\xff"])
def test_another_file_of_that_name_is_no_mark(content: str, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(cut_off.NAME)).write_bytes(content.encode("latin-1"))
    assert cut_off.found(os.fsencode(tmp_path), "new") is None


def test_a_mark_that_came_with_the_snapshot_is_replaced(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(cut_off.NAME)).write_text('["an old run", []]')
    cut_off.put(os.fsencode(tmp_path), "new", ["a line"])
    assert cut_off.found(os.fsencode(tmp_path), "new") == ["a line"]

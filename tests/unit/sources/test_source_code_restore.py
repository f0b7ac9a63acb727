"""Which way chosen items of repositories are put back, and what is left alone."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest

from tasks.errors import Occupied, SourceError
from tasks.item import FOLDER
from tasks.sources.source import Restoring
from tasks.sources.source_code import SourceCode
from tests.contracts.child import FORK
from tests.contracts.memory_items import Saved
from tests.git_sample import commit, git, init, made, rich, state

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return rich(tmp_path / "site")


@pytest.fixture
def source(site: Path) -> SourceCode:
    return made(site)


@pytest.fixture
def saved(source: SourceCode) -> Saved:
    return Saved(source.capture())


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_single_paths_come_back_as_plain_files(source: SourceCode, saved: Saved, tmp_path: Path) -> None:
    wanted = [saved[b"site/repository.bundle"], saved[b"site/working-tree/modified.py"]]
    source.restore(saved, wanted, tmp_path / "copy", Restoring())
    assert below(tmp_path / "copy") == {"site/repository.bundle", "site/working-tree/modified.py"}
    git(tmp_path, "clone", "--quiet", str(tmp_path / "copy/site/repository.bundle"), "clone")


def test_all_but_the_bundle_comes_back_as_plain_files(source: SourceCode, saved: Saved, tmp_path: Path) -> None:
    wanted = [item for item in saved if not item.entry.path.endswith(b".bundle")]
    source.restore(saved, wanted, tmp_path / "copy", Restoring())
    files = {item.entry.path.decode() for item in wanted if item.entry.type != FOLDER}
    assert below(tmp_path / "copy") == files


def test_what_a_restore_that_was_killed_has_left_is_told_once(site: Path, tmp_path: Path) -> None:
    """It may be as large as the repository, and its name hides it."""
    both = made(site, rich(tmp_path / "other"))
    saved = Saved(both.capture())
    with (
        mock.patch("tasks.sources.git.restore._Building.build", side_effect=KeyboardInterrupt),
        mock.patch("tasks.sources.git.cut_off.clear"),
        pytest.raises(KeyboardInterrupt),
    ):
        both.restore(saved, saved, tmp_path / "copy", Restoring())
    (left,) = os.listdir(tmp_path / "copy")
    lines = both.restore(saved, saved, tmp_path / "copy", Restoring())
    assert [left in line and "remove it" in line for line in lines] == [True]
    assert both.examine(tmp_path / "copy") == saved.facts


def test_a_restore_that_is_told_to_end_ends_what_git_has_started(tmp_path: Path) -> None:
    site = init(tmp_path / "site")
    commit(site, {f"{number}": os.urandom(20_000) for number in range(200)})
    source = made(site)
    saved, into = Saved(source.capture()), tmp_path / "copy"

    def restore() -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        source.restore(saved, saved, into, Restoring())

    process = FORK.Process(target=restore)
    process.start()
    while not of(into):
        assert process.is_alive()
        time.sleep(0.001)
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join(30)
    assert process.exitcode == 143
    deadline = time.monotonic() + 5
    while of(into):
        assert time.monotonic() < deadline, "git goes on"
        time.sleep(0.01)
    assert os.listdir(into) == []


def of(folder: Path) -> list[bytes]:
    """The command lines in which it is named, such as that of the `pack-objects` of a `repack`."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(file.read_bytes())
    return [line for line in lines if os.fsencode(folder) in line]


def test_of_two_repositories_one_can_be_restored(source: SourceCode, site: Path, tmp_path: Path) -> None:
    both = made(site, rich(tmp_path / "other"))
    saved = Saved(both.capture())
    wanted = [item for item in saved if item.entry.path.split(b"/")[0] == b"other"]
    both.restore(saved, wanted, tmp_path / "copy", Restoring())
    assert os.listdir(tmp_path / "copy") == ["other"]
    assert state(tmp_path / "copy/other") == state(tmp_path / "other")
    with pytest.raises(SourceError, match="site"):
        both.examine(tmp_path / "copy")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_repository_is_never_put_into_what_is_there(
    overwrite: bool, source: SourceCode, saved: Saved, tmp_path: Path
) -> None:
    (tmp_path / "copy/site").mkdir(parents=True)
    (tmp_path / "copy/site/precious").write_text("precious")
    with pytest.raises(Occupied, match="move it away"):
        source.restore(saved, saved, tmp_path / "copy", Restoring(overwrite))
    assert below(tmp_path / "copy") == {"site/precious"}


def test_a_target_that_is_no_folder_is_told(source: SourceCode, saved: Saved, tmp_path: Path) -> None:
    (tmp_path / "copy").symlink_to("nowhere")
    with pytest.raises(Occupied, match="is to be a folder, but something else has that name"):
        source.restore(saved, saved, tmp_path / "copy", Restoring())


def test_an_empty_folder_is_taken_and_a_link_is_not(source: SourceCode, saved: Saved, tmp_path: Path) -> None:
    (tmp_path / "copy/site").mkdir(parents=True)
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/site").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Occupied):
        source.restore(saved, saved, tmp_path / "linked", Restoring())
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_restored_repository_restores_once_more_as_the_same(source: SourceCode, saved: Saved, tmp_path: Path) -> None:
    source.restore(saved, saved, tmp_path / "first", Restoring())
    again = made(tmp_path / "first/site")
    second = Saved(again.capture())
    assert second.facts == saved.facts
    again.restore(second, second, tmp_path / "second", Restoring())
    assert state(tmp_path / "second/site") == state(tmp_path / "first/site")


def test_the_older_stashes_can_be_applied(source: SourceCode, saved: Saved, tmp_path: Path) -> None:
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    copy = tmp_path / "copy/site"
    assert git(copy, "stash", "list").decode().splitlines() == [
        "stash@{0}: On main: stash 2",
        "stash@{1}: On main: stash 1",
    ]
    git(copy, "reset", "--hard", "--quiet")
    git(copy, "stash", "apply", "--quiet", "stash@{1}")
    assert (copy / "kept.py").read_text() == "# stashed 1\n"


def test_times_and_modes_of_what_was_not_committed_come_back(
    source: SourceCode, saved: Saved, site: Path, tmp_path: Path
) -> None:
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    for name in ("modified.py", "run.sh", "untracked/notes.txt", "untracked", "."):
        before, after = (site / name).stat(), (tmp_path / "copy/site" / name).stat()
        assert (after.st_mtime_ns, after.st_mode) == (before.st_mtime_ns, before.st_mode), name


def test_a_name_of_any_bytes_may_be_the_label(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 site"))
    source = made(init(folder))
    saved = Saved(source.capture())
    source.restore(saved, saved, tmp_path / "copy", Restoring())
    assert source.examine(tmp_path / "copy") == saved.facts


def test_damage_to_any_part_shows_in_the_facts(source: SourceCode, saved: Saved, tmp_path: Path) -> None:
    def delete_a_branch(copy: Path) -> None:
        git(copy, "branch", "--delete", "--force", "feature/one")

    def drop_a_stash(copy: Path) -> None:
        git(copy, "stash", "drop", "--quiet", "stash@{1}")

    def unstage(copy: Path) -> None:
        git(copy, "reset", "--quiet", "staged.py")

    def bring_back(copy: Path) -> None:
        git(copy, "checkout", "--quiet", "--", "deleted.py")

    def change_a_hook(copy: Path) -> None:
        (copy / ".git/hooks/pre-commit").write_text("#!/bin/sh\n")

    def change_what_is_tracked(copy: Path) -> None:
        (copy / "kept.py").write_text("# changed\n")

    def lose_history(copy: Path) -> None:
        for index in (copy / ".git/objects/pack").glob("*.idx"):
            index.unlink()

    damages = (delete_a_branch, drop_a_stash, unstage, bring_back, change_a_hook, change_what_is_tracked, lose_history)
    for damage in damages:
        into = tmp_path / damage.__name__
        source.restore(saved, saved, into, Restoring())
        assert source.examine(into) == saved.facts
        damage(into / "site")
        assert source.examine(into) != saved.facts, damage.__name__

"""A restore in portions, without Celery: what it came to is one, and who may not go on does not."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Damaged, NotFound, Occupied, Refused, Unavailable
from tasks.item import Entry
from tasks.lease import LeaseLost
from tasks.portions import Portions
from tasks.progress import unheard
from tasks.record import Record
from tasks.repository import Repository, Snapshot
from tasks.shared_restore import SharedRestore
from tasks.sources.docs import Docs, DocsSettings
from tasks.sources.metadata import Metadata
from tasks.sources.not_restored import NotRestored
from tasks.sources.source import Limits
from tasks.sources.staging_writer import StagingWriter
from tests.flows.test_disproven import spoil
from tests.flows.trees import grow, state_of
from tests.redis_process import redis_process
from tests.repositories import about, create, local

LIMITS = Limits(10_000, 100, 4)


@pytest.fixture
def record() -> Iterator[Record]:
    with redis_process() as server, closing(server.client()) as client:
        client.flushall()
        yield Record(client)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    (tmp_path / "store").mkdir()
    repository = create(local(tmp_path / "store"))
    source = Docs("docs", DocsSettings(kind="docs", paths=(grow(tmp_path / "originals/docs"),)))
    repository.save(source.capture(), about(1), repository.destination)
    return repository


class Restore(SharedRestore):
    """Of the only snapshot, into the folder `back`."""

    def __init__(self, record: Record, repository: Repository, tmp_path: Path) -> None:
        super().__init__(record, repository, "here", "run-1")
        self.into, self.snapshot = tmp_path / "back", repository.snapshots()[0]

    def divided(self, *patterns: str, overwrite: bool = False, limits: Limits = LIMITS) -> Portions:
        found = self.divide(lambda: self.snapshot, self.into, patterns, overwrite=overwrite, limits=limits)
        assert found
        return found

    def all(self, portions: Portions) -> list[tuple[str, int, bytes]]:
        for number in range(len(portions)):
            self.put_back(portions, number + 1, unheard)
        return self.finish(portions)

    def left_over(self) -> list[Path]:
        return list(self.into.rglob(".geometra-*"))


@pytest.fixture
def restore(record: Record, repository: Repository, tmp_path: Path) -> Restore:
    return Restore(record, repository, tmp_path)


def test_each_step_may_be_done_again_by_anyone(restore: Restore, tmp_path: Path) -> None:
    original = state_of(tmp_path / "originals")
    for _ in range(2):
        for _ in range(2):
            portions = restore.divided()
            assert len(portions) == 4
            assert restore.divided() == portions
            assert restore.all(portions) == []
        assert state_of(restore.into) == original
    assert restore.left_over() == []


def test_what_could_not_be_given_back_is_counted_over_all_portions(
    restore: Restore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Metadata.give

    def give(self: Metadata, descriptor: int, entry: Entry, status: Any = None, **how: bool) -> None:
        given(self, descriptor, entry, status, **how)
        self._missed.add("its owner was refused", entry.path)

    monkeypatch.setattr(Metadata, "give", give)
    found = restore.all(restore.divided())
    files = [path for path in (tmp_path / "originals").rglob("*") if path.is_file() and not path.is_symlink()]
    folders = [path for path in (tmp_path / "originals").rglob("*") if path.is_dir() and not path.is_symlink()]
    missed = NotRestored()
    missed.add_all(found)
    count = len(files) + len(folders) - 1  # a hard link has that of its file
    assert missed.lines() == [f"{count} items: its owner was refused; the first is `docs/empty.toml`"]
    assert restore.finish(restore.divided()) == found


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_damaged_is_named_once_all_else_is_there(
    record: Record, repository: Repository, tmp_path: Path, overwrite: bool
) -> None:
    original, store = state_of(tmp_path / "originals"), tmp_path / "store"
    before = set(store.rglob("*"))
    (tmp_path / "originals/docs/large").write_bytes(random.Random(1).randbytes(3_000_000))
    source = Docs("docs", DocsSettings(kind="docs", paths=(tmp_path / "originals/docs",)))
    repository.save(source.capture(), about(2), repository.destination)
    spoil(max(set(store.rglob("packs/*/*")) - before, key=lambda path: path.stat().st_size))
    restore = Restore(record, repository, tmp_path)
    restore.snapshot = repository.snapshots()[-1]
    portions = restore.divided(overwrite=overwrite)
    for _ in range(2):
        with pytest.raises(Damaged, match="all else was restored, but what is stored of `docs/large` is damaged"):
            restore.all(portions)
    assert {path: state for path, state in state_of(restore.into).items() if path != "docs"} == {
        path: state for path, state in original.items() if path != "docs"
    }
    assert restore.left_over() == []


def test_what_can_not_have_its_name_there_is_told_once_all_else_is_there(
    restore: Restore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, link = state_of(tmp_path / "originals"), os.link

    def refusing(staged: Any, name: Any, **how: Any) -> None:
        if name == b"file 7.toml":
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        link(staged, name, **how)

    monkeypatch.setattr("os.link", refusing)
    portions = restore.divided()
    for _ in range(2):
        with pytest.raises(
            Refused, match=r"all else was restored.*can't hold.*`docs/team1/part2/file 7.toml`: File name too long"
        ):
            restore.all(portions)
    assert state_of(restore.into) == {
        path: state for path, state in original.items() if not path.endswith("/file 7.toml")
    }
    assert restore.left_over() == []


def test_what_is_in_the_way_is_found_before_anything_is_written(restore: Restore) -> None:
    (restore.into / "docs").mkdir(parents=True)
    (restore.into / "docs/empty.toml").write_text("precious")
    before = state_of(restore.into)
    with pytest.raises(Occupied):
        restore.divided()
    assert state_of(restore.into) == before


def test_nothing_is_made_where_nothing_is_meant(restore: Restore) -> None:
    with pytest.raises(NotFound):
        restore.divided("*.nothing")
    assert not restore.into.exists()


def test_who_does_not_see_the_folder_does_not_go_on(restore: Restore) -> None:
    portions = restore.divided()
    assert restore.is_seen(portions)
    restore.into.rename(restore.into.with_name("elsewhere"))
    restore.into.mkdir()
    assert not restore.is_seen(portions)
    with pytest.raises(Unavailable, match="not the folder"):
        restore.divided()
    assert os.listdir(restore.into) == []


def test_a_portion_that_is_wanted_no_more_leaves_nothing(restore: Restore) -> None:
    portions = restore.divided()
    restore.put_back(portions, 1, unheard, lambda: False)
    restore.give_up(portions)
    assert [path for path in restore.into.rglob("*") if not path.is_dir()] == []


def test_what_a_killed_attempt_left_is_removed_when_nobody_waits_for_it(
    restore: Restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    portions = restore.divided()
    monkeypatch.setattr("tasks.attempts.Attempts.end", _killed)
    monkeypatch.setattr(StagingWriter, "discard_all", lambda self: None)
    with pytest.raises(Killed):
        restore.put_back(portions, 1, unheard)
    assert len(restore.left_over()) > 2
    restore.clear(portions, 1)
    restore.clear(portions, 2)
    restore.give_up(portions)
    assert restore.left_over() == []


class Killed(BaseException):
    pass


def _killed(*args: object) -> None:
    raise Killed


def test_an_attempt_that_another_followed_leaves_its_work_to_that_one(
    restore: Restore, record: Record, repository: Repository, tmp_path: Path
) -> None:
    """As one that was stopped for long, and whose files the other has removed."""
    portions, other = restore.divided(), Restore(record, repository, tmp_path)

    def meanwhile() -> bool:
        other.put_back(portions, 1, unheard)
        return True

    with pytest.raises(LeaseLost):
        restore.put_back(portions, 1, unheard, meanwhile)
    assert restore.all(portions) == []
    assert state_of(restore.into) == state_of(tmp_path / "originals")
    assert restore.left_over() == []


def test_one_that_comes_late_leaves_folders_their_times(
    restore: Restore, record: Record, repository: Repository, tmp_path: Path
) -> None:
    """As one that was stopped for long, while others ended the restore, and writes on before it notices."""
    portions, other = restore.divided(), Restore(record, repository, tmp_path)

    def meanwhile() -> bool:
        other.all(portions)
        (restore.into / "docs/late").touch()
        (restore.into / "docs/late").unlink()
        return True

    with pytest.raises(LeaseLost):
        restore.put_back(portions, 1, unheard, meanwhile)
    assert state_of(restore.into) == state_of(tmp_path / "originals")
    assert restore.left_over() == []


def test_a_part_whose_result_the_record_has_lost_is_told(restore: Restore) -> None:
    portions = restore.divided()
    restore.put_back(portions, 1, unheard)
    with pytest.raises(Damaged, match="restore again"):
        restore.finish(portions)


def test_too_much_to_remember_is_not_divided(restore: Restore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.portions._MOST_THERE", 1)
    (restore.into / "docs/team0").mkdir(parents=True)
    for _ in range(2):
        assert restore.divide(_first(restore), restore.into, (), overwrite=False, limits=LIMITS) is None
        assert restore.left_over() == []
    assert restore.portions() is None


def _first(restore: Restore) -> Any:
    def snapshot() -> Snapshot:
        return restore.snapshot

    return snapshot

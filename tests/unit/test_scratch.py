"""Scratch folders: nothing of them stays, and nobody removes another's."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from tasks.errors import Refused
from tasks.scratch import check_holds_all, collect, scratch_folder
from tests.flows.terminal import short_folder
from tests.unit.sources.conftest import old_disk

__all__ = ["old_disk"]

_NOBODY = 65534


@pytest.fixture
def anybodys() -> Iterator[Path]:
    with short_folder() as folder:
        folder.chmod(0o777)
        yield folder


def test_folders_that_came_back_to_be_read_only_go_too(anybodys: Path) -> None:
    outside = anybodys / "outside"
    outside.mkdir(mode=0o555)
    child = os.fork()
    if not child:
        if os.geteuid() == 0:
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
        with scratch_folder(anybodys / "scratch") as folder:
            (folder / "a/b").mkdir(parents=True)
            (folder / "a/b/file").write_text("x")
            (folder / "a/link").symlink_to(outside)
            for each in (folder / "a/b", folder / "a"):
                each.chmod(0o500)
        os._exit(len(list((anybodys / "scratch").iterdir())))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert outside.stat().st_mode & 0o777 == 0o555


def test_folders_too_deep_for_a_path_go_too(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    with scratch_folder(tmp_path / "scratch") as folder:
        number = os.open(folder, os.O_RDONLY)
        for _ in range(2500):
            os.symlink(outside, "link", dir_fd=number)
            os.mkdir("deeper", dir_fd=number)
            below = os.open("deeper", os.O_RDONLY, dir_fd=number)
            os.close(number)
            number = below
        os.close(number)
    assert list((tmp_path / "scratch").iterdir()) == []
    assert (outside / "file").exists()


def test_a_link_that_somebody_put_there_leads_nowhere(tmp_path: Path) -> None:
    """However old: what it leads to is not the scratch of a process that was killed, nor is what lies in it."""
    outside, below = tmp_path / "outside", tmp_path / "scratch"
    below.mkdir()
    (outside / "folder").mkdir(parents=True)
    (outside / "folder/file").touch()
    (below / "geometra-scratch-link").symlink_to(outside)
    os.utime(outside, (0, 0))
    collect(below)
    (outside / ".alive").touch()
    collect(below)
    assert (outside / "folder/file").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_folder_of_another_user_is_left_alone(tmp_path: Path) -> None:
    others, own = tmp_path / "geometra-scratch-others", tmp_path / "geometra-scratch-own"
    for folder in (others, own):
        folder.mkdir()
        os.utime(folder, (0, 0))
    os.chown(others, _NOBODY, _NOBODY)
    collect(tmp_path)
    assert others.exists()
    assert not own.exists()


def test_one_that_is_only_just_made_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fcntl.flock

    def after_others(file: Any, how: int) -> None:
        if how == fcntl.LOCK_EX:
            collect(tmp_path)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", after_others)
    with scratch_folder(tmp_path) as folder:
        collect(tmp_path)
        assert folder.is_dir()


def test_an_old_file_system_is_told(tmp_path: Path, old_disk: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        check_holds_all(folder)
        assert list(folder.iterdir()) == []
    with scratch_folder(old_disk) as folder, pytest.raises(Refused, match="does not hold times to the nanosecond"):
        check_holds_all(folder)


def test_removals_that_wait_for_a_slow_disk_wait_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink, together = os.unlink, Barrier(4)

    def slow(path: str) -> None:
        together.wait(10)
        unlink(path)

    with scratch_folder(tmp_path) as folder:
        for number in range(4):
            (folder / f"{number}").mkdir()
            (folder / f"{number}/file").touch()
        (folder.parent / ".alive").unlink()
        monkeypatch.setattr(os, "unlink", slow)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_many_goes(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        for number in range(3000):
            (folder / f"{number}").touch()
        for number in range(300):
            (folder / f"folder {number}/deeper").mkdir(parents=True)
    assert list(tmp_path.iterdir()) == []

"""What is in the way of a restore is found before anything is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.errors import Occupied, UnsafePath
from tasks.item import FIFO, SOCKET, Entry, Stored
from tasks.sources.survey import Survey
from tests.contracts.file_listing import listing
from tests.unit.sources.stored_files import file, folder, hard, link

ITEMS = [
    folder(b"a"),
    folder(b"a/b"),
    file(b"a/b/c"),
    link(b"a/l", b"x"),
    Stored(Entry(b"p", FIFO)),
    hard(b"z", b"a/b/c"),
]


def survey(into: Path, *, overwrite: bool = False) -> set[bytes]:
    looking = Survey(into, overwrite=overwrite)
    for item in ITEMS:
        looking.see(item)
    return looking.there


@pytest.fixture
def into(tmp_path: Path) -> Path:
    into = tmp_path / "into"
    into.mkdir()
    return into


def test_an_empty_folder_has_nothing_in_the_way(into: Path) -> None:
    assert survey(into) == set()


def test_folders_that_are_there_are_named_with_what_else_is_in_them_left_alone(into: Path) -> None:
    (into / "a/b").mkdir(parents=True)
    (into / "a/mine").touch()
    before = listing(into)
    assert survey(into) == {b"a", b"a/b"}
    assert survey(into, overwrite=True) == set()
    assert listing(into) == before


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.entry.path.decode())
@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_is_in_the_way_is_named(into: Path, item: Stored, make: object) -> None:
    path = into / os.fsdecode(item.entry.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)  # type: ignore[operator]
    before = listing(into)
    is_folder, may_be_there = path.is_dir(), item.entry.type == "d"
    for overwrite in (False, True):
        if (is_folder and may_be_there) or (overwrite and not is_folder and not may_be_there):
            survey(into, overwrite=overwrite)
        else:
            with pytest.raises((Occupied, UnsafePath), match=f"`{item.entry.path.decode()}"):
                survey(into, overwrite=overwrite)
    assert listing(into) == before


def test_a_link_in_the_place_of_a_folder_is_not_gone_through(into: Path, tmp_path: Path) -> None:
    (tmp_path / "outside/b").mkdir(parents=True)
    (into / "a").symlink_to(tmp_path / "outside")
    looking = Survey(into, overwrite=True)
    with pytest.raises(UnsafePath):
        looking.see(file(b"a/b/c"))


def test_a_snapshot_that_leads_out_is_refused(into: Path) -> None:
    looking = Survey(into, overwrite=True)
    with pytest.raises(UnsafePath):
        looking.see(file(b"../x"))
    looking.see(link(b"a", b"/etc"))
    with pytest.raises(UnsafePath, match="below something that is no folder"):
        looking.see(file(b"a/x"))


def test_what_is_not_made_is_never_in_the_way(into: Path) -> None:
    (into / "socket").touch()
    Survey(into, overwrite=False).see(Stored(Entry(b"socket", SOCKET)))

"""What one of several attempts writes has its own names until all is there, and then takes no one else's."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Occupied, Refused, UnsafePath
from tasks.item import FIFO, Entry, Stored
from tasks.sources.file_restore import contents, make_links
from tasks.sources.source import Restoring
from tasks.sources.staging_writer import StagingWriter
from tasks.sources.unfinished import staged_name
from tests.contracts.file_listing import listing
from tests.contracts.memory_items import MemoryItems
from tests.unit.sources.stored_files import file, folder, hard, link

FILES = [folder(b"a"), file(b"a/one", b"1" * 5000), file(b"a/two"), file(b"b")]
LINKS = [hard(b"a/again", b"b"), link(b"a/link", b"b"), Stored(Entry(b"pipe", FIFO))]


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "into"


def writer(into: Path, attempt: str = "first", *, overwrite: bool = False) -> StagingWriter:
    return StagingWriter(into, Restoring(overwrite=overwrite), attempt)


def write(into: Path, attempt: str = "first", *, overwrite: bool = False) -> None:
    with writer(into, attempt, overwrite=overwrite) as writing:
        MemoryItems(FILES).extract(contents(FILES, writing), writing)


def place(into: Path, items: list[Stored], attempt: str = "first") -> None:
    with writer(into, attempt) as placing:
        for item in items:
            if item.entry.type != "d":
                placing.place(item)


def names(into: Path) -> set[str]:
    return {name.decode() for name in listing(into)}


def test_nothing_has_its_name_before_it_is_placed_and_nothing_is_left_after(into: Path) -> None:
    write(into)
    assert len(names(into)) == 4
    assert all(name == "a" or ".geometra-restore-first-" in name for name in names(into))
    place(into, FILES)
    assert names(into) == {"a", "a/one", "a/two", "b"}
    assert (into / "a/one").read_bytes() == b"1" * 5000
    with writer(into) as writing:
        make_links(LINKS, writing)
    place(into, LINKS)
    place(into, LINKS + FILES)  # by another who comes
    assert names(into) == {"a", "a/again", "a/link", "a/one", "a/two", "b", "pipe"}
    assert (into / "a/again").samefile(into / "b")
    assert os.readlink(into / "a/link") == "b"


@pytest.mark.parametrize("item", [*FILES[1:], *LINKS], ids=lambda item: item.entry.path.decode())
def test_what_somebody_put_there_is_not_replaced(into: Path, item: Stored) -> None:
    write(into)
    path = into / os.fsdecode(item.entry.path)
    if item in LINKS:
        place(into, FILES)
        with writer(into) as writing:
            make_links(LINKS, writing)
    path.write_bytes(b"precious")
    with pytest.raises(Occupied):
        place(into, [item])
    assert path.read_bytes() == b"precious"
    with writer(into) as other:
        other.discard(item.entry.path, "first")
    assert not (path.parent / os.fsdecode(staged_name("first", item.entry.path))).exists()


def test_one_who_was_killed_between_both_names_has_given_it_its_own(into: Path) -> None:
    write(into)
    os.link(into / os.fsdecode(staged_name("first", b"b")), into / "b")
    place(into, FILES)
    assert names(into) == {"a", "a/one", "a/two", "b"}


def test_what_was_taken_away_before_it_had_its_name_is_told(into: Path) -> None:
    write(into)
    (into / os.fsdecode(staged_name("first", b"b"))).unlink()
    with pytest.raises(Refused, match="`b` was taken away"):
        place(into, FILES)


def test_an_attempt_removes_what_another_left_and_its_own(into: Path) -> None:
    write(into)
    place(into, FILES[:2])
    write(into, "second")
    with writer(into, "second") as second:
        for item in FILES:
            second.discard(item.entry.path, "first")
        second.discard(b"../outside", "first")
    assert not [name for name in names(into) if "-first-" in name]
    with writer(into, "third") as third:
        MemoryItems(FILES).extract(contents(FILES, third), third)
        third.discard_all()
    assert not [name for name in names(into) if "-third-" in name]
    assert "a/one" in names(into)


def test_what_may_be_replaced_has_its_name_at_once(into: Path) -> None:
    into.mkdir()
    (into / "b").write_bytes(b"old")
    write(into, overwrite=True)
    assert names(into) == {"a", "a/one", "a/two", "b"}
    assert (into / "b").read_bytes() == b"planted"


def test_where_no_file_may_have_two_names_its_name_is_taken_first(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any, **options: Any) -> None:
        raise OSError(errno.EPERM, "as a FAT says")

    write(into)
    monkeypatch.setattr(os, "link", refused)
    (into / "b").write_bytes(b"precious")
    place(into, FILES[:3])
    with pytest.raises(Occupied):
        place(into, FILES)
    assert (into / "b").read_bytes() == b"precious"
    assert (into / "a/one").read_bytes() == b"1" * 5000


def test_nothing_is_placed_through_a_link(into: Path, tmp_path: Path) -> None:
    write(into)
    (tmp_path / "outside").mkdir()
    (into / "a").rename(tmp_path / "outside/a")
    (into / "a").symlink_to(tmp_path / "outside/a")
    with pytest.raises(UnsafePath):
        place(into, FILES)
    assert "one" not in os.listdir(tmp_path / "outside/a")
    with writer(into) as other:
        other.discard(b"a/one", "first")
    assert len(os.listdir(tmp_path / "outside/a")) == 2

"""Small files of a folder are listed together, in their place among what is listed alone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tasks.item import FILE, FOLDER, HARDLINK, SYMLINK, Item
from tasks.listing import Listed, one_by_one
from tasks.pieces import Without
from tasks.sources import leaves, walk
from tasks.sources.extents import SMALLEST
from tasks.sources.filetree import FileTreeSettings
from tasks.sources.manner import Manner
from tasks.sources.models import Models
from tasks.sources.selection import Selection
from tasks.sources.walk import Walk
from tests.contracts.file_source import SETTLED
from tests.repositories import about, create, local


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """300 small files, and in between them a large one, a link of each kind, and a folder."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(300):
        (tree / f"{number:03}").write_bytes(b"%d" % number)
    (tree / "050-large").write_bytes(bytes(SMALLEST))
    (tree / "060-link").symlink_to("060")
    (tree / "070-name").hardlink_to(tree / "070")
    (tree / "080-folder").mkdir()
    (tree / "080-folder" / "inside").touch()
    return tree


def walk_of(tree: Path, selection: Selection | None = None, **manner: bool) -> Walk:
    return Walk({b"tree": os.fsencode(tree)}, selection or Selection(), Manner(**manner))  # type: ignore[arg-type]


def sizes(listed: list[Listed]) -> list[int | str]:
    """Of what is listed together how many there are, of the others what they are."""
    return [some.entry.type if isinstance(some, Item) else len(some.paths) for some in listed]


def test_small_files_with_one_name_are_listed_together_and_nothing_else_is(tree: Path) -> None:
    expected = [FOLDER, 51, FILE, 10, SYMLINK, 9, FILE, HARDLINK, 10, FOLDER, 1, 128, 91]
    assert sizes(list(walk_of(tree).listed())) == expected


@pytest.mark.parametrize(
    ("selection", "manner"),
    [
        (Selection(include=["*[05]", "inside"]), {}),
        (Selection(exclude=["*7*"]), {}),
        (Selection(), {"exclude_caches": True, "one_file_system": True}),
    ],
)
def test_they_are_what_they_are_one_by_one(
    tree: Path, selection: Selection, manner: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = list(walk_of(tree, selection, **manner).listed())
    assert any(isinstance(size, int) and size > 1 for size in sizes(together))
    monkeypatch.setattr(walk, "_TOGETHER", 1)
    alone = walk_of(tree, selection, **manner).listed()
    assert [item.entry for item in one_by_one(together)] == [item.entry for item in one_by_one(alone)]


@pytest.mark.parametrize("selection", [Selection(secrets=["*.key"]), Selection()])
def test_what_must_be_looked_at_when_it_is_its_turn_is_listed_alone(tree: Path, selection: Selection) -> None:
    listed = walk_of(tree, selection, rotating=not selection.counts).listed()
    assert all(isinstance(some, Item) for some in listed)


def test_a_flaw_is_not_told_before_what_comes_before_it(tree: Path) -> None:
    walked = walk_of(tree)
    told = []
    for some in walked.listed():
        if not isinstance(some, Item) and some.paths[0] == b"tree/000":
            (tree / "200").unlink()
        told.append((some.entry.path if isinstance(some, Item) else some.paths[-1], len(walked.flaws)))
    assert told[-3:] == [(b"tree/080-folder/inside", 0), (b"tree/199", 0), (b"tree/299", 1)]


def test_a_night_without_changes_makes_no_item_of_a_small_file(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = create(local(tree.parent / "repository"))
    time.sleep(SETTLED)
    source = Models("models", FileTreeSettings(kind="models", paths=(tree,)))
    first = repository.save(source.capture(), about(0), repository.destination)
    made = []
    item = leaves.Leaves.item

    def watched(self: leaves.Leaves, *arguments: object) -> Item:
        made.append(arguments[2])
        return item(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(leaves.Leaves, "item", watched)
    second = repository.save(source.capture(), about(1), repository.destination)
    assert made == [b"tree/050-large", b"tree/060-link", b"tree/070", b"tree/070-name"]
    assert second.figures["unchanged"] == 302
    assert (second.level, second.content, second.facts) == (first.level, first.content, first.facts)


def test_what_others_bring_is_left_out_of_what_is_listed_together(tree: Path) -> None:
    source = Models("models", FileTreeSettings(kind="models", paths=(tree,)))
    apart = frozenset({b"tree/100", b"tree/050-large", b"tree/080-folder"})
    listed = list(Without(source.capture(), apart).listed())
    assert sizes(listed)[-1] == 91
    paths = [item.entry.path for item in one_by_one(listed)]
    assert paths == [
        item.entry.path for item in source.capture() if item.entry.path not in apart - {b"tree/080-folder"}
    ]

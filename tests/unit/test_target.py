"""Where a restore goes, as a person types it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from tasks.errors import SettingsError
from tasks.item import Facts, Stored, StoredItems
from tasks.settings import TargetSettings
from tasks.sources.docs import Docs
from tasks.sources.filetree import FileTreeSettings
from tasks.sources.source import Restoring, Served, Source
from tasks.target import target_of


class ShelfTarget(TargetSettings):
    shelf: int = 0
    books: tuple[str, ...] = ()


class Library(Docs):
    """Its books are on a server."""

    kind: ClassVar[str] = "library"
    Target: ClassVar[type[TargetSettings]] = ShelfTarget

    def restore_into(self, items: StoredItems, chosen: Iterable[Stored], target: Any, how: Restoring) -> list[str]:
        raise NotImplementedError

    def examine_at(self, target: Any) -> Facts:
        raise NotImplementedError


def library() -> Source:
    return cast(Source, Library("books", FileTreeSettings.model_construct(kind="library")))


def test_a_path_is_a_folder_whatever_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert target_of(library(), "back", {}) == tmp_path / "back"
    assert isinstance(library(), Served)


def test_a_url_is_a_server_with_the_options_of_its_kind() -> None:
    target = target_of(library(), "http://shelves:80", {"shelf": ["2", "3"], "books": ["a", "b"]})
    assert target == ShelfTarget(url="http://shelves:80", shelf=3, books=("a", "b"))


def test_a_reference_is_a_server_and_is_read_when_it_is_used() -> None:
    target = target_of(library(), "env:NOT_SET_YET", {})
    assert isinstance(target, ShelfTarget)
    assert str(target.url) == "env:NOT_SET_YET"


@pytest.mark.parametrize(
    ("to", "options", "said"),
    [
        ("back", {"shelf": ["2"]}, "is a folder"),
        ("http://shelves", {"shelf": ["top"]}, "`shelf`: must be a whole number"),
        ("http://shelves", {"shelve": ["2"]}, "`shelve`: "),
        ("http://reader:hunter2@shelves", {}, "`url`: a password is never written here"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(to: str, options: dict[str, list[str]], said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        target_of(library(), to, options)
    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_go_into_folders_only() -> None:
    files = cast(Source, Docs("d", FileTreeSettings.model_construct(kind="docs")))
    with pytest.raises(SettingsError, match="restored into a folder") as raised:
        target_of(files, "http://reader:hunter2@shelves", {})
    assert "hunter2" not in str(raised.value)

"""Facts of files: any difference that a restore could make shows in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from tasks.errors import SourceError
from tasks.item import FILE, Entry
from tasks.sources.docs import Docs, DocsSettings
from tasks.sources.file_facts import FileFacts
from tasks.sources.path_text import path_text


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    (copy / "docs" / "folder").mkdir(parents=True)
    (copy / "docs" / "file").write_bytes(b"content")
    (copy / "docs" / "other").write_bytes(b"other")
    (copy / "docs" / "link").symlink_to("file")
    os.link(copy / "docs" / "file", copy / "docs" / "folder" / "hard")
    for path in (copy / "docs" / "folder", copy / "docs"):
        os.utime(path, ns=(1, 1))
    return copy


def facts(copy: Path) -> dict[str, object]:
    return Docs("docs", DocsSettings(kind="docs", paths=(copy,))).examine(copy)


def _same_content_another_time(docs: Path) -> None:
    os.utime(docs / "other", ns=(5, 5))


def _a_bit_within(docs: Path) -> None:
    when = (docs / "other").stat().st_mtime_ns
    (docs / "other").write_bytes(b"othes")
    os.utime(docs / "other", ns=(when, when))


def _no_longer_one_file(docs: Path) -> None:
    when = (docs / "file").stat().st_mtime_ns
    (docs / "folder" / "hard").unlink()
    (docs / "folder" / "hard").write_bytes(b"content")
    os.utime(docs / "folder" / "hard", ns=(when, when))
    os.utime(docs / "folder", ns=(1, 1))


def _another_target(docs: Path) -> None:
    (docs / "link").unlink()
    (docs / "link").symlink_to("fill")


def _renamed(docs: Path) -> None:
    (docs / "other").rename(docs / "othes")


@pytest.mark.parametrize(
    "change",
    [
        _same_content_another_time,
        _a_bit_within,
        _no_longer_one_file,
        _another_target,
        _renamed,
        lambda docs: (docs / "other").chmod(0o640),
        lambda docs: (docs / "folder").chmod(0o750),
        lambda docs: (docs / "other").unlink(),
        lambda docs: (docs / "more").touch(),
        lambda docs: (docs / "more").mkdir(),
        lambda docs: os.utime(docs / "folder", ns=(2, 2)),
        lambda docs: os.setxattr(docs / "other", "user.x", b"1"),
        lambda docs: os.mkfifo(docs / "pipe"),
    ],
)
def test_any_change_changes_the_facts(copy: Path, change: Callable[[Path], object]) -> None:
    before = facts(copy)
    assert facts(copy) == before
    change(copy / "docs")
    os.utime(copy / "docs", ns=(1, 1))
    assert facts(copy) != before


def test_owners_are_counted_by_root_alone_and_apart(copy: Path) -> None:
    before = facts(copy)
    if os.geteuid():
        assert "owners" not in before
        return
    os.chown(copy / "docs" / "other", 12345, 54321)
    after = facts(copy)
    assert {name for name, fact in after.items() if fact != before[name]} == {"owners"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root counts owners")
def test_whose_each_item_is_follows_from_where_the_owner_changes() -> None:
    """Of 16 ways to give four files to two owners, no two have the same facts."""
    ways = set()
    for way in product((0, 7), repeat=4):
        facts = FileFacts()
        for number, owner in enumerate(way):
            facts.add(Entry(b"%d" % number, FILE, 0o644, owner, 0))
        ways.add(facts.facts()["owners"])
    assert len(ways) == 16


def test_a_copy_that_can_not_be_read_is_an_error_not_a_difference(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(SourceError):
        facts(tmp_path / "absent")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"plain/file.txt", "plain/file.txt"),
        ("ähnlich".encode(), "ähnlich"),
        (b"\xff/x", "\\xff/x"),
        (b"a\x1b[31m\n", "a\\x1b[31m\\n"),
        ("a\u202eb".encode(), "a\\u202eb"),
    ],
)
def test_paths_are_shown_without_what_a_terminal_would_obey(path: bytes, text: str) -> None:
    assert path_text(path) == text
    assert path_text(path).isprintable()

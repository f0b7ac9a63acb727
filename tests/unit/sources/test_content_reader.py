"""What a drill reads of the files that came back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.content_digest import content_digest
from tasks.item import Item
from tasks.sources.content_reader import ContentReader
from tasks.sources.filetree import examined
from tasks.sources.manner import Manner
from tasks.sources.selection import Selection
from tasks.sources.small_files import REGION
from tasks.sources.walk import Walk


def items(folder: Path) -> list[Item]:
    return list(Walk({b"top": os.fsencode(folder)}, Selection(), Manner(all_holes=True)))


def test_small_files_are_read_at_once_and_all_as_by_their_streams(tmp_path: Path) -> None:
    contents = {"empty": b"", "large": os.urandom(REGION + 5), "second": b"bb", "third": b"a"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    os.setxattr(tmp_path / "second", "user.word", b"value")
    reader = ContentReader()
    top, *files = items(tmp_path)
    assert reader.read(top) == top.entry
    for item, content in zip(files, contents.values(), strict=True):
        found = reader.read(item)
        assert (found.size, found.digest) == (len(content), content_digest(content))
        assert found._replace(version=(0, 0)) == reader.read(item._replace(at_once=None))._replace(version=(0, 0))
        if len(content) < 65536:
            assert reader.read(item._replace(open=lambda: pytest.fail("its stream was asked for"))) == found


def test_many_small_files_that_came_back_are_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a process of its own, as those of a first night are."""
    for folder in range(20):
        (tmp_path / f"top/{folder:02}").mkdir(parents=True)
        for number in range(1200):
            (tmp_path / f"top/{folder:02}/{number:04}").write_text(f"{folder} {number}")
    monkeypatch.setattr("tasks.sources.reading_ahead.cores", lambda: 2)
    began = os.times().children_user
    found = {entry.path: entry.digest for entry in examined(tmp_path) if entry.digest}
    assert os.times().children_user > began
    assert len(found) == 24_000
    assert found[b"top/19/1199"] == content_digest(b"19 1199")

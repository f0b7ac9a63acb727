"""A folder's names come sorted as bytes, however many there are."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from tasks.sources import folder_names
from tasks.sources.folder_names import sorted_names
from tasks.sources.open_folders import Descriptor

ODD = [b"b", b"a-", b"a", b"B", b"\xff", b"\xc3\xa4", b"a.b", b"~", b" ", b"\n"]


@pytest.fixture
def folder(tmp_path: Path) -> Descriptor:
    for name in ODD:
        os.close(os.open(os.fsencode(tmp_path) + b"/" + name, os.O_CREAT))
    return Descriptor(os.open(tmp_path, os.O_RDONLY))


@pytest.mark.parametrize("large", [0, 1 << 20])
@pytest.mark.parametrize("run", [1, 3, len(ODD), 100])
def test_they_are_sorted_as_bytes_each_time_that_they_are_gone_through(
    folder: Descriptor, run: int, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_names, "_RUN", run)
    monkeypatch.setattr(folder_names, "_TOGETHER", 2)
    monkeypatch.setattr(folder_names, "_LARGE", large)
    names = sorted_names(folder)
    assert list(names) == list(names) == sorted(ODD)
    assert list(sorted_names(folder)) == sorted(ODD), "it can be listed again"


def test_an_empty_folder_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Descriptor(os.open(tmp_path, os.O_RDONLY))
    assert list(sorted_names(folder)) == []
    monkeypatch.setattr(folder_names, "_LARGE", 0)
    assert list(sorted_names(folder)) == []


def test_many_take_little_more_than_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_names, "_RUN", 400)
    monkeypatch.setattr(folder_names, "_TOGETHER", 20)
    monkeypatch.setattr(folder_names, "_LARGE", 0)
    for at in range(4_000):
        os.close(os.open(tmp_path / f"a-rather-long-name-{at:06d}", os.O_CREAT))
    folder = Descriptor(os.open(tmp_path, os.O_RDONLY))
    tracemalloc.start()
    names = sorted_names(folder)
    count = sum(1 for _ in names)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 4_000
    assert peak < 4_000 * 60

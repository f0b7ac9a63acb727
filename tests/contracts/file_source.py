"""What the contracts of file sources work on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.sources.filetree import FileTree

SETTLED = 0.03
"""Seconds after which a change is old enough to be told from the next by its time."""

Make = Callable[..., FileTree]


def settle() -> None:
    time.sleep(SETTLED)


class FileSource:
    """A small tree, and a source of it."""

    @pytest.fixture
    def make(self) -> Make:
        """Makes a source of the kind, of the given paths, that takes every file; options by name."""
        raise NotImplementedError

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        tree = tmp_path / "tree"
        (tree / "inner").mkdir(parents=True)
        (tree / "empty").mkdir()
        (tree / "one.txt").write_bytes(b"one\n" * 1000)
        (tree / "inner" / "two.bin").write_bytes(bytes(range(256)) * 2000)
        (tree / "inner" / "nothing").touch()
        settle()
        return tree

    @pytest.fixture
    def source(self, make: Make, tree: Path) -> FileTree:
        return make(tree)

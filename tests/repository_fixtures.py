"""Fixtures of every test that needs a repository; a conftest.py imports them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.repository import Repository
from tests.repositories import create, local


@pytest.fixture
def fast_path(tmp_path: Path) -> Iterator[Path]:
    """A folder for many small writes that are synced: in memory where the machine has such a place."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    if not memory.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="geometra-test-", dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def repository(fast_path: Path) -> Repository:
    return create(local(fast_path / "there"))

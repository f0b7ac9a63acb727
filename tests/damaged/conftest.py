"""A history to be damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.damaged.history import History, copied, remove_originals
from tests.repository_fixtures import fast_path

__all__ = ["fast_path"]


@pytest.fixture
def history(fast_path: Path) -> History:
    return copied(fast_path)


@pytest.fixture(scope="session", autouse=True)
def _without_traces() -> Iterator[None]:
    yield
    remove_originals()

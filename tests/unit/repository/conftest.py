"""Repositories to try things on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests.repository_fixtures import fast_path, repository
from tests.unit.repository.house import House

__all__ = ["fast_path", "repository"]

# A machine that is busy with other things is no defect.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def house(fast_path: Path) -> House:
    return House(fast_path)

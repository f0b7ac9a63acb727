"""A local folder, and a file as the spool holds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.destinations import Local
from tasks.destinations.local import LocalSettings
from tests.stores.fixtures import azure, gcs, rgw, s3

__all__ = ["azure", "finished", "gcs", "local", "rgw", "root", "s3"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def local(root: Path) -> Local:
    return Local(LocalSettings(path=root))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A file as the spool holds it."""
    file = tmp_path / "finished"
    file.write_bytes(b"content")
    file.chmod(0o600)
    return file

"""Test data: whatever lies in the folders."""

from __future__ import annotations

from typing import ClassVar

from tasks.settings import SourceSettings
from tasks.sources.filetree import FileTree, FileTreeSettings


class TestDataSettings(FileTreeSettings):
    """Fixtures, samples and data sets that tests use."""

    __test__: ClassVar[bool] = False


class TestData(FileTree):
    __test__: ClassVar[bool] = False  # pytest takes every class of such a name for tests
    kind: ClassVar[str] = "test_data"
    Settings: ClassVar[type[SourceSettings]] = TestDataSettings

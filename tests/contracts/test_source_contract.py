"""The contract of sources, on every kind of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.sources.config import Config
from tasks.sources.docs import Docs
from tasks.sources.filetree import FileTree, FileTreeSettings
from tasks.sources.logs import Logs
from tasks.sources.models import Models
from tasks.sources.test_data import TestData
from tests.contracts.file_source import Make
from tests.contracts.file_source_contract import FileSourceContract


def maker(kind: type[FileTree]) -> Make:
    def make(*paths: Path | dict[str, Any], **options: Any) -> FileTree:
        settings = {"kind": kind.kind, "paths": paths, "include": (), **options}
        model = kind.Settings
        assert issubclass(model, FileTreeSettings)
        return kind("tested", model.model_validate(settings))

    return make


class TestConfig(FileSourceContract):
    @pytest.fixture
    def make(self) -> Make:
        return maker(Config)


class TestLogs(FileSourceContract):
    @pytest.fixture
    def make(self) -> Make:
        return maker(Logs)

    def test_a_file_that_is_overwritten_while_it_is_read_is_partial(self, source: FileTree, tree: Path) -> None:
        """A log is taken to be written at its end only; it is read again the next time all the same."""
        content, entry, flaw = self._changed_meanwhile(
            source, lambda: (tree / "one.txt").write_bytes(b"one\n" * 1000 + b"two\n")
        )
        assert (content, entry.size, flaw) == (b"one\n" * 1000, 4000, "")


class TestModels(FileSourceContract):
    @pytest.fixture
    def make(self) -> Make:
        return maker(Models)


class TestDocs(FileSourceContract):
    @pytest.fixture
    def make(self) -> Make:
        return maker(Docs)


class TestTestData(FileSourceContract):
    @pytest.fixture
    def make(self) -> Make:
        return maker(TestData)

"""What every source of files promises beside what every source does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.sources.filetree import FileTree
from tests.contracts.file_change_contract import FileChangeContract
from tests.contracts.file_choice_contract import FileChoiceContract
from tests.contracts.file_metadata_contract import FileMetadataContract
from tests.contracts.file_source import Make
from tests.contracts.source_contract import SourceContract


class FileSourceContract(FileMetadataContract, FileChangeContract, FileChoiceContract, SourceContract):
    @pytest.fixture
    def change(self, tree: Path) -> Callable[[], None]:
        def another_content() -> None:
            (tree / "inner" / "two.bin").write_bytes(b"other")

        return another_content

    @pytest.fixture
    def damage(self) -> Callable[[Path], None]:
        def one_byte(copy: Path) -> None:
            file = copy / "tree" / "inner" / "two.bin"
            status = file.stat()
            content = bytearray(file.read_bytes())
            content[100_000] ^= 1
            file.write_bytes(content)
            os.utime(file, ns=(status.st_mtime_ns, status.st_mtime_ns))

        return one_byte

    @pytest.fixture
    def absent(self, make: Make, tmp_path: Path) -> FileTree:
        return make(tmp_path / "not there")

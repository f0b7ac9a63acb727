"""The contract of sources, on the folder that Chroma persists to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.sources.chroma.settings import ChromaSettings
from tasks.sources.chromadb import Chroma
from tasks.sources.docs import Docs, DocsSettings
from tasks.sources.hnsw import columns
from tasks.sources.source import Source
from tests.chroma_process import chroma
from tests.contracts.file_source import settle
from tests.contracts.source_contract import SourceContract


def source_of(folder: Path, scratch: Path) -> Chroma:
    return Chroma("tested", ChromaSettings.model_validate({"kind": "chroma", "path": folder, "scratch": scratch}))


@pytest.fixture
def store(filled_chroma: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(filled_chroma, tmp_path / "origin" / "store"))
    settle()
    return folder


class TestFolder(SourceContract):
    @pytest.fixture
    def source(self, store: Path, tmp_path: Path) -> Source:
        return source_of(store, tmp_path / "scratch")

    @pytest.fixture
    def change(self, store: Path) -> Callable[[], None]:
        def touch() -> None:
            chroma("touch", store)

        return touch

    @pytest.fixture
    def damage(self) -> Callable[[Path], None]:
        def flip(copy: Path) -> None:
            """One bit of each vector of an index: some of them belong to no record any more."""
            victim = max(copy.glob("store/*/data_level0.bin"), key=lambda path: path.stat().st_size)
            content = bytearray(victim.read_bytes())
            header = victim.with_name("header.bin").read_bytes()
            width = sum(columns(header, bytes(content), len(content)))
            for end in range(width, len(content) + 1, width):
                content[end - 10] ^= 1  # right before the label, which has eight bytes
            victim.write_bytes(content)

        return flip

    @pytest.fixture
    def absent(self, tmp_path: Path) -> Source:
        return source_of(tmp_path / "nowhere", tmp_path / "scratch")


def test_every_vector_index_says_what_its_rows_are_made_of(store: Path, tmp_path: Path) -> None:
    """Of Chroma's own files: also where a source of another kind meets them."""
    chroma_source = source_of(store, tmp_path / "scratch")
    docs = Docs("docs", DocsSettings(kind="docs", paths=(store,)))
    for source in (chroma_source, docs):
        found = {item.entry.path: item.columns for item in source.capture()}
        indexes = {path: widths for path, widths in found.items() if path.endswith(b"/data_level0.bin")}
        # All vectors of a third collection wait in the queue: its index, where it is taken, is room without a row.
        assert sorted(filter(None, indexes.values())) == [(132, 4 * 8, 8), (132, 4 * 16, 8)]
        assert not any(widths for path, widths in found.items() if path not in indexes)


def test_the_database_asks_to_be_cut_by_single_pages(store: Path, tmp_path: Path) -> None:
    cuts = {item.entry.path: item.cut for item in source_of(store, tmp_path / "scratch").capture()}
    assert cuts.pop(b"store/chroma.sqlite3") == "p4"
    assert set(cuts.values()) == {""}

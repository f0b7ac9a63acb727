"""A Chroma folder of which a worker that was taken over has written the snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.sources.chroma.settings import ChromaSettings
from tasks.sources.chromadb import Chroma
from tasks.sources.source import Restoring
from tests.contracts.memory_items import MemoryItems
from tests.unit.sources.stored_files import file, folder, hard, link


@pytest.mark.parametrize("name", [b"chroma.sqlite3", b"chroma.sqlite3-journal", b"segment"])
def test_a_link_is_not_given_back_for_a_chroma_to_write_through(tmp_path: Path, name: bytes) -> None:
    """A link that leads out of the folder is one like any other where files are restored: a server follows it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    items = (
        folder(b"store"),
        link(b"store/" + name, str(outside).encode()),
        hard(b"store/other", b"store/" + name),
        file(b"store/kept", b"kept"),
    )
    settings = ChromaSettings(kind="chroma", path=tmp_path / "live", scratch=tmp_path)
    missed = Chroma("memory", settings).restore(MemoryItems(items), items, tmp_path / "back", Restoring(owners=False))
    assert missed == [
        f"2 items: neither a file nor a folder: a Chroma has no other; the first is `store/{name.decode()}`"
    ]
    assert sorted(path.name for path in (tmp_path / "back").rglob("*")) == ["kept", "store"]

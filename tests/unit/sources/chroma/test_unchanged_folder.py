"""A folder that nobody has written since its last snapshot is neither copied nor counted again."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Unavailable
from tasks.repository import Repository, Snapshot, capturing
from tasks.sources.chroma.settings import ChromaSettings
from tasks.sources.chroma.stored_folder import DATABASE
from tasks.sources.chromadb import Chroma
from tasks.sources.source import Restoring
from tests.chroma_process import chroma
from tests.contracts.file_source import settle
from tests.repositories import about, create, keys, local


class Nights:
    """Snapshots of one folder, night after night. `copied` counts those for which it was copied."""

    def __init__(self, store: Path, tmp_path: Path) -> None:
        self.store, self._scratch = store, tmp_path / "scratch"
        made = create(local(tmp_path / "repository"))
        self.repository = Repository.open(made.destination, keys().reader, cache=tmp_path / "cache")
        self.number = self.copied = 0

    def save(self, **settings: Any) -> Snapshot:
        data = {"kind": "chroma", "path": self.store, "scratch": self._scratch} | settings
        capture = Chroma("tested", ChromaSettings.model_validate(data)).capture()
        with self._watched():
            snapshot = self.repository.save(capture, about(self.number), self.repository.destination)
        self.number += 1
        return snapshot

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Every copy makes a folder in `scratch`, and takes it away."""
        self._scratch.mkdir(exist_ok=True)
        before = self._scratch.stat().st_mtime_ns
        settle()
        yield
        self.copied += self._scratch.stat().st_mtime_ns != before


def _last_of_a_record(rows: bytes) -> int:
    """Where the last row ends that is not marked as deleted, which Chroma does not look at: threads settle which row is
    the last. Of the links in front of the vector and the label, the first four bytes are their number and the mark."""
    links, vector, label = 4 + 32 * 4, 8 * 4, 8
    length = links + vector + label
    assert len(rows) % length == 0
    return next(end for end in range(len(rows), 0, -length) if not rows[end - length + 2] & 1)


@pytest.fixture
def nights(filled_chroma: Path, tmp_path: Path) -> Nights:
    store = Path(shutil.copytree(filled_chroma, tmp_path / "origin" / "store"))
    settle()
    return Nights(store, tmp_path)


def test_what_nobody_wrote_is_taken_over_with_its_facts(nights: Nights, tmp_path: Path) -> None:
    first = nights.save()
    second = nights.save()
    assert nights.copied == 1, "the second was copied too"
    assert second.facts == first.facts
    assert first.facts["records"] > 1000
    assert second.content == first.content
    assert second.figures["read_bytes"] == 0
    assert second.figures["unchanged"] == second.figures["files"] == first.figures["files"]
    assert second.packs == ()
    source = Chroma("tested", ChromaSettings.model_validate({"kind": "chroma", "path": nights.store}))
    items = nights.repository.read(second)
    assert source.restore(items, items, tmp_path / "back", Restoring()) == []
    assert source.examine(tmp_path / "back") == {
        name: fact for name, fact in second.facts.items() if name not in ("held", "indexes")
    }


def test_what_chroma_wrote_is_counted_again(nights: Nights) -> None:
    first = nights.save()
    chroma("touch", nights.store)
    settle()
    second = nights.save()
    assert nights.copied == 2
    assert second.facts != first.facts
    assert nights.save().facts == second.facts
    assert nights.copied == 2


def test_one_rotten_byte_of_an_index_is_found_although_its_time_is_set_back(nights: Nights) -> None:
    nights.save()
    rows = max(nights.store.glob("*/data_level0.bin"), key=lambda path: path.stat().st_size)
    status = rows.stat()
    with open(rows, "r+b") as file:
        file.seek(_last_of_a_record(rows.read_bytes()) - 9)
        file.write(b"\x7f" * 9)
    os.utime(rows, ns=(status.st_atime_ns, status.st_mtime_ns))
    settle()
    second = nights.save()
    assert nights.copied == 2
    assert not second.complete
    third = nights.save()
    assert nights.copied == 3, "what is not whole is looked at each night"
    assert [flaw.path for flaw in third.flaws] == [flaw.path for flaw in second.flaws]


def test_a_file_that_went_or_came_is_seen(nights: Nights) -> None:
    nights.save()
    folder = next(nights.store.glob("*/index_metadata.pickle")).parent
    (folder / "more").write_bytes(b"of a newer Chroma")
    settle()
    assert nights.save().complete
    assert nights.copied == 2
    (folder / "more").unlink()
    settle()
    nights.save()
    assert nights.copied == 3


def test_what_a_killed_process_left_is_rolled_back_and_counted(nights: Nights, tmp_path: Path) -> None:
    """A hot journal: the database's file is as it was, or not, and only SQLite knows."""
    first = nights.save()
    other = tmp_path / "killed" / "store"
    with closing(sqlite3.connect(nights.store / DATABASE, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size = 1")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE embedding_metadata SET string_value = 'x'")
        # What a kill leaves: the journal beside a database that has some of the new pages already.
        shutil.copytree(nights.store, other)
        writer.execute("ROLLBACK")
    shutil.rmtree(nights.store)
    shutil.move(other, nights.store)
    assert (nights.store / f"{DATABASE}-journal").stat().st_size > 0
    settle()
    second = nights.save()
    assert nights.copied == 2
    assert second.facts == first.facts


def test_other_settings_and_another_version_look_again(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    nights.save()
    kept = nights.save(indexes="store")
    assert nights.copied == 2
    assert kept.facts["indexes"] == {"stored": "as the source's `indexes` says"}
    assert nights.save(indexes="store").facts == kept.facts
    assert nights.copied == 2
    monkeypatch.setattr(capturing, "_version", lambda: "99")
    nights.save(indexes="store")
    assert nights.copied == 3


def test_where_a_chunk_may_be_gone_all_is_looked_at(nights: Nights, tmp_path: Path) -> None:
    first = nights.save()
    for pack in (tmp_path / "repository").rglob("packs/*/*"):
        pack.unlink()
    second = nights.save()
    assert nights.copied == 2
    assert second.facts == first.facts
    assert second.figures["read_bytes"] == second.figures["content_bytes"] > 0


def test_a_database_that_is_locked_is_waited_for_in_vain(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    nights.save()
    monkeypatch.setattr("tasks.sources.chroma.snapshot._LOCK_SECONDS", 0.1)
    with closing(sqlite3.connect(nights.store / DATABASE, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="stayed locked"):
            nights.save()
        writer.execute("ROLLBACK")
    nights.number += 1
    nights.save()
    assert nights.copied == 1


def test_a_snapshot_of_other_paths_is_not_gone_by(nights: Nights) -> None:
    first = nights.save()
    moved = nights.store.with_name("moved")
    nights.store.rename(moved)
    nights.store = moved
    second = nights.save()
    assert nights.copied == 2
    assert second.facts == first.facts

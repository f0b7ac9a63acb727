"""A folder is restored over one that was lost in a crash: what SQLite left there must not end up in the new one."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tasks.errors import Occupied
from tasks.sources.chroma.settings import ChromaSettings
from tasks.sources.chroma.stored_folder import DATABASE
from tasks.sources.chromadb import Chroma
from tasks.sources.source import Restoring
from tests.contracts.memory_items import Saved
from tests.contracts.source_contract import agree

LOG = ("PRAGMA journal_mode = WAL", "PRAGMA wal_autocheckpoint = 0", "DELETE FROM embedding_metadata")
JOURNAL = ("PRAGMA cache_size = 5", "BEGIN IMMEDIATE", "UPDATE embeddings SET embedding_id = embedding_id || ' other'")
CRASH = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement)
os._exit(0)
"""


def crash(database: Path, statements: tuple[str, ...]) -> None:
    """A process that writes and is gone, without its connection being closed."""
    subprocess.run([sys.executable, "-c", CRASH, str(database), *statements], check=True)


@pytest.fixture
def store(filled_chroma: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled_chroma, tmp_path / "live" / "store"))


@pytest.fixture
def source(store: Path, tmp_path: Path) -> Chroma:
    settings = {"kind": "chroma", "path": store, "scratch": tmp_path / "scratch"}
    return Chroma("tested", ChromaSettings.model_validate(settings))


@pytest.mark.parametrize("statements", [LOG, JOURNAL], ids=["a log", "a journal"])
def test_what_a_crash_left_does_not_end_up_in_the_restored_database(
    statements: tuple[str, ...], source: Chroma, store: Path
) -> None:
    saved = Saved(source.capture())
    crash(store / DATABASE, statements)
    assert any(path.name.startswith(f"{DATABASE}-") for path in store.iterdir())
    assert source.restore(saved, saved, store.parent, Restoring(overwrite=True)) == []
    assert agree(source.examine(store.parent), saved.facts)
    with closing(sqlite3.connect(store / DATABASE)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_log_whose_database_is_gone_is_in_the_way(source: Chroma, store: Path) -> None:
    saved = Saved(source.capture())
    crash(store / DATABASE, LOG)
    log = store / f"{DATABASE}-wal"
    for path in store.parent.rglob("*"):
        if path.is_file() and path != log:
            path.unlink()
    with pytest.raises(Occupied, match=r"chroma\.sqlite3-wal` is there already"):
        source.restore(saved, saved, store.parent, Restoring())
    assert [path for path in store.parent.rglob("*") if path.is_file()] == [log]


def test_a_database_that_is_in_use_is_not_replaced_under_its_process(source: Chroma, store: Path) -> None:
    saved = Saved(source.capture())
    with closing(sqlite3.connect(store / DATABASE)), pytest.raises(Occupied, match=f"process {os.getpid()} has"):
        source.restore(saved, saved, store.parent, Restoring(overwrite=True))

"""Folders as versions of Chroma wrote them that are not installed here."""

from __future__ import annotations

import pickle
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tasks.sources.chroma.folder_capture import folder_facts
from tasks.sources.chroma.folder_check import folder_problems
from tasks.sources.chroma.hnsw import PICKLE
from tasks.sources.chroma.pickled import persisted
from tasks.sources.chroma.stored_folder import DATABASE, PERSISTED

FIRST = 1
"""A number that the queue has let go of."""


@pytest.fixture
def store(filled_chroma: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled_chroma, tmp_path / "store"))


def test_a_folder_of_before_0_5_is_read_which_says_in_its_indexes_what_they_have_taken_in(store: Path) -> None:
    """And keeps in its queue all that was ever sent, such as changes of records that were not there yet."""
    with closing(sqlite3.connect(store / DATABASE)) as database, database:
        database.execute("DELETE FROM collection_metadata WHERE bool_value IS NOT NULL")
    truth, wrong = folder_facts(store)
    assert not wrong
    with closing(sqlite3.connect(store / DATABASE)) as database, database:
        database.execute("ALTER TABLE collection_metadata DROP COLUMN bool_value")
        segments = database.execute("SELECT id, collection FROM segments WHERE type = ?", (PERSISTED,)).fetchall()
        for segment, collection in segments:
            if (path := store / segment / PICKLE).exists():
                labels = dict(persisted(path).labels)
                query = "SELECT seq_id FROM max_seq_id WHERE segment_id = ?"
                [taken] = database.execute(query, (segment,)).fetchone()
                path.write_bytes(pickle.dumps({"max_seq_id": taken, "id_to_label": labels}))
                database.execute("DELETE FROM max_seq_id WHERE segment_id = ?", (segment,))
                [dimension] = database.execute(
                    "SELECT dimension FROM collections WHERE id = ?", (collection,)
                ).fetchone()
                vector = np.full(dimension, 9, "<f4").tobytes()
                change = (f"persistent://default/default/{collection}", next(iter(labels)), vector)
                database.execute("DELETE FROM embeddings_queue WHERE seq_id = ?", (FIRST,))
                database.execute(
                    "INSERT INTO embeddings_queue (seq_id, operation, topic, id, vector, encoding)"
                    " VALUES (?, 1, ?, ?, ?, 'FLOAT32')",
                    (FIRST, *change),
                )
                assert taken > FIRST
                break
    assert folder_facts(store) == (truth, {})


def test_a_folder_of_before_there_were_databases_in_it_is_told_before_the_night(store: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(store / DATABASE)) as database, database:
        database.execute("DROP TABLE databases")
    [problem] = folder_problems(store, tmp_path)
    assert "no such table: databases" in problem.what
    assert "Chroma 0.4.15 to 1.5" in problem.advice

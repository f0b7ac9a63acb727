"""Clearing free pages changes nothing that SQLite knows of."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tasks.sources.chroma.free_pages import clear
from tasks.sources.chroma.records import NotWhole


def database_of(path: Path, page_size: int = 4096, deleted: int = 3000) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size = {page_size}")
        connection.execute("PRAGMA secure_delete = OFF")  # as in Chroma's own SQLite
        connection.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY, value BLOB)")
        connection.execute("CREATE TABLE queue (id INTEGER PRIMARY KEY, value BLOB)")
        for number in range(3000):
            connection.execute("INSERT INTO queue VALUES (?, ?)", (number, b"VECTOR" * 300))
            if number % 10 == 0:
                connection.execute("INSERT INTO kept VALUES (?, ?)", (number, os.urandom(700)))
        connection.execute("DELETE FROM queue WHERE id < ?", (deleted,))
        connection.commit()
    return path


def content_of(path: Path) -> tuple[object, ...]:
    with closing(sqlite3.connect(path)) as connection:
        good = connection.execute("PRAGMA integrity_check").fetchall()
        free = connection.execute("PRAGMA freelist_count").fetchone()
        rows = [connection.execute(f"SELECT * FROM {name}").fetchall() for name in ("kept", "queue")]  # noqa: S608
    return good, free, rows


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_everything_is_still_there_and_what_was_deleted_is_gone(page_size: int, tmp_path: Path) -> None:
    path = database_of(tmp_path / "db", page_size)
    before = content_of(path)
    assert before[0] == [("ok",)]
    stale = path.read_bytes().count(b"VECTOR")
    assert stale > 100_000
    assert clear(path) > 3_000_000
    assert content_of(path) == before
    assert path.read_bytes().count(b"VECTOR") < stale / 20
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE more AS SELECT * FROM kept")
        connection.commit()
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_database_without_free_pages_stays_as_it_is(tmp_path: Path) -> None:
    path = database_of(tmp_path / "db", deleted=0)
    before = path.read_bytes()
    assert clear(path) == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize(("offset", "value"), [(32, 10**6), (36, 7), (32, 0)])
def test_a_damaged_list_of_free_pages_is_told_and_nothing_is_changed(offset: int, value: int, tmp_path: Path) -> None:
    path = database_of(tmp_path / "db")
    content = bytearray(path.read_bytes())
    content[offset : offset + 4] = value.to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(NotWhole, match="free pages"):
        clear(path)
    assert path.read_bytes() == content

"""Clearing the gaps in pages changes nothing that SQLite knows of."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tasks.sources.chroma.page_gaps import clear_gaps
from tasks.sources.chroma.records import NotWhole
from tasks.sources.chroma.stored_folder import DATABASE

SCHEMA = """
    CREATE TABLE plain (id INTEGER PRIMARY KEY, value TEXT, number REAL);
    CREATE TABLE keyed (id TEXT, value TEXT, PRIMARY KEY (id, value)) WITHOUT ROWID;
    CREATE TABLE empty (id INTEGER PRIMARY KEY, value TEXT UNIQUE);
    CREATE INDEX by_value ON plain (value) WHERE value IS NOT NULL;
    CREATE INDEX by_expression ON plain (length(value), id * 2);
    CREATE VIRTUAL TABLE words USING fts5(value);
"""


def database_of(path: Path, page_size: int, *settings: str, seed: int = 0) -> Path:
    """Rows of all sizes, up to several pages, in no order, of which some were changed and some deleted."""
    chance = random.Random(seed)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for each in (f"page_size = {page_size}", "secure_delete = OFF", *settings):
            connection.execute(f"PRAGMA {each}")
        connection.executescript(f"BEGIN; {SCHEMA}")
        for turn in range(1500):
            number = chance.randrange(1 << 20)
            length = chance.choice([5, 40, 300, 300, page_size // 2, 3 * page_size]) % 20_000
            text = f"SECRET {number} ".ljust(length, chance.choice("abc"))
            connection.execute("INSERT OR REPLACE INTO plain VALUES (?, ?, ?)", (number, text, number / 7))
            connection.execute("INSERT OR REPLACE INTO keyed VALUES (?, ?)", (text[:20], text[:200]))
            if turn % 5 == 0:
                connection.execute("INSERT INTO words VALUES (?)", [text[:100]])
            if turn % 3 == 0:
                at = chance.randrange(1 << 20)
                connection.execute("DELETE FROM plain WHERE id BETWEEN ? AND ?", (at, at + (1 << 14)))
        connection.execute("COMMIT")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return path


def content_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return list(connection.iterdump())


SETTINGS = [
    (),
    ("auto_vacuum = FULL",),
    ("auto_vacuum = INCREMENTAL",),
    ("journal_mode = WAL",),
    ("encoding = 'UTF-16'",),
]


@pytest.mark.parametrize(
    ("page_size", "settings"), [(size, ()) for size in (512, 1024, 65536)] + [(4096, each) for each in SETTINGS]
)
def test_everything_is_still_there(page_size: int, settings: tuple[str, ...], tmp_path: Path) -> None:
    path = database_of(tmp_path / "db", page_size, *settings)
    before, size = content_of(path), path.stat().st_size
    assert clear_gaps(path) > 1000
    assert content_of(path) == before
    assert path.stat().st_size == size
    assert clear_gaps(path) == 0
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO keyed SELECT id || value, value || value FROM keyed")
        connection.execute("DELETE FROM plain WHERE id % 2")
        connection.commit()
    content_of(path)


@pytest.mark.parametrize("seed", range(1, 5))
def test_no_byte_changes_that_a_row_or_the_structure_needs(seed: int, tmp_path: Path) -> None:
    path = database_of(tmp_path / "db", 4096, seed=seed)
    before = path.read_bytes()
    clear_gaps(path)
    after = path.read_bytes()
    # The other way round: whatever a gap holds, SQLite sees the same.
    noisy = bytearray(after)
    for at, (old, new) in enumerate(zip(before, after, strict=True)):
        if old != new:
            assert new == 0
            noisy[at] = 0xAA
    (tmp_path / "noisy").write_bytes(noisy)
    (tmp_path / "before").write_bytes(before)
    assert content_of(tmp_path / "noisy") == content_of(tmp_path / "before") == content_of(path)


def test_what_was_deleted_is_not_kept_in_gaps(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("CREATE TABLE plain (id INTEGER PRIMARY KEY, value TEXT)")
        connection.executemany("INSERT INTO plain VALUES (?, 'SECRET')", [(number,) for number in range(100)])
        connection.execute("DELETE FROM plain")
    assert path.read_bytes().count(b"SECRET") > 90
    clear_gaps(path)
    assert path.read_bytes().count(b"SECRET") == 0


def test_of_a_chroma_a_page_that_was_cleared_once_stays_the_same(filled_chroma: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(filled_chroma, tmp_path / "store")) / DATABASE
    before = content_of(path)
    assert clear_gaps(path) > 10_000
    assert content_of(path) == before
    first = path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE embeddings SET seq_id = 7 WHERE id = 5")
        connection.commit()
    clear_gaps(path)
    second = path.read_bytes()
    changed = [at for at in range(0, len(first), 4096) if first[at : at + 4096] != second[at : at + 4096]]
    assert 1 <= len(changed) <= 2


DAMAGE = {"cells that begin above": (5, 4090), "more cells than fit": (3, 3000), "another kind": (0, 7), "none": (0, 0)}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_page_that_is_not_as_it_must_be_stays(what: str, tmp_path: Path) -> None:
    path = database_of(tmp_path / "db", 4096)
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'plain'"
        root = connection.execute(query).fetchone()[0]
    content = bytearray(path.read_bytes())
    start = (root - 1) * 4096
    at, value = DAMAGE[what]
    content[start + at : start + at + (2 if at else 1)] = value.to_bytes(2 if at else 1, "big")
    path.write_bytes(content)
    clear_gaps(path)
    assert path.read_bytes()[start : start + 4096] == content[start : start + 4096]


def test_pages_that_point_at_each_other_end(tmp_path: Path) -> None:
    path = database_of(tmp_path / "db", 4096)
    with closing(sqlite3.connect(path)) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'plain'").fetchone()[0]
    content = bytearray(path.read_bytes())
    assert content[(root - 1) * 4096] == 5
    for right in (root, 0, 1 << 31):
        content[(root - 1) * 4096 + 8 : (root - 1) * 4096 + 12] = right.to_bytes(4, "big")
        path.write_bytes(content)
        clear_gaps(path)


def test_what_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"none" * 2000)
    with pytest.raises(NotWhole, match="can't be read"):
        clear_gaps(tmp_path / "db")
    assert (tmp_path / "db").read_bytes() == b"none" * 2000

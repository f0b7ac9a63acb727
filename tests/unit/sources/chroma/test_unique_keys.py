"""The indexes of keys are left out of Chroma's database and made again as SQLite itself keeps them; an index that is
not what its table says is stored as it is."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Refused
from tasks.sources.chroma import left_out, unique_keys
from tasks.sources.chroma.facts import count
from tasks.sources.chroma.free_pages import clear
from tasks.sources.chroma.left_out import leave_out, make_readable, put_back
from tasks.sources.chroma.records import NotWhole
from tasks.sources.chroma.stored_folder import DATABASE, StoredFolder
from tasks.sources.chroma.unique_keys import KEYS
from tests.unit.sources.chroma.test_left_out import content_of, run

NAMES = {key.name for key in KEYS}
EMBEDDINGS, METADATA = (key.name for key in KEYS)


@pytest.fixture
def database(filled_chroma: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled_chroma, tmp_path / "store")) / DATABASE


def asked(database: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(statement).fetchall()


def counted(database: Path) -> list[Any]:
    with StoredFolder(database.parent) as stored:
        return [count(each).facts() for each in stored.collections()]


def rewrite_schema(database: Path, *changes: str) -> None:
    run(database, "PRAGMA writable_schema = ON", *changes)


def without_its_index(database: Path, table: str, *statements: str) -> None:
    """Change a table behind the back of its key's index."""
    [key] = [each for each in KEYS if each.table == table]
    [(statement,)] = asked(database, f"SELECT sql FROM sqlite_master WHERE name = '{table}'")  # noqa: S608
    [(root,)] = asked(database, f"SELECT rootpage FROM sqlite_master WHERE name = '{key.name}'")  # noqa: S608
    rewrite_schema(
        database,
        f"UPDATE sqlite_master SET sql = '{key.without}' WHERE name = '{table}'",  # noqa: S608
        f"DELETE FROM sqlite_master WHERE name = '{key.name}'",  # noqa: S608
    )
    run(database, *statements)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (statement, table))
        row = ("index", key.name, table, root)
        connection.execute("INSERT INTO sqlite_master (type, name, tbl_name, rootpage) VALUES (?, ?, ?, ?)", row)


def test_keys_are_kept_again_by_sqlite_itself(database: Path) -> None:
    before = content_of(database)
    shown = [asked(database, f"PRAGMA index_list({key.table})") for key in KEYS]
    assert set(leave_out(database)[0]) >= NAMES
    for key in KEYS:
        assert key.name not in str(asked(database, f"PRAGMA index_list({key.table})"))
    assert clear(database) > database.stat().st_size / 3
    put_back(database)
    assert content_of(database) == before
    for key, index_list in zip(KEYS, shown, strict=True):
        again = asked(database, f"PRAGMA index_list({key.table})")
        assert sorted(row[1:] for row in again) == sorted(row[1:] for row in index_list)
        columns = key.columns.split(", ")
        where = " AND ".join(f"{column} = 1" for column in columns)
        plan = asked(database, f"EXPLAIN QUERY PLAN SELECT rowid FROM {key.table} WHERE {where}")  # noqa: S608
        assert key.name in str(plan)
        row = asked(database, f"SELECT {key.columns} FROM {key.table} LIMIT 1")[0]  # noqa: S608
        others = {"embeddings": ", seq_id", "embedding_metadata": ""}[key.table]
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE constraint failed"):
            run(database, f"INSERT INTO {key.table} ({key.columns}{others}) VALUES {(*row, 1)[: 2 + bool(others)]}")  # noqa: S608


def test_a_copy_is_read_by_indexes_that_it_is_given_for_that(database: Path) -> None:
    truth = counted(database)
    leave_out(database)
    make_readable(database)
    assert counted(database) == truth
    plan = asked(
        database,
        "EXPLAIN QUERY PLAN SELECT e.embedding_id, m.string_value, a.string_value FROM embeddings e"
        " LEFT JOIN embedding_metadata m ON m.id = e.id LEFT JOIN embedding_metadata_array a ON a.id = e.id"
        " WHERE e.segment_id = 'x' ORDER BY e.embedding_id",
    )
    steps = [row[-1] for row in plan]
    assert len(steps) == 3
    assert all("USING INDEX" in step or "USING COVERING INDEX" in step for step in steps)
    assert "AUTOMATIC" not in str(steps)


ODD: dict[str, tuple[str, ...]] = {
    "pages of 1 KiB": ("PRAGMA page_size = 1024", "VACUUM"),
    "pages of 64 KiB": ("PRAGMA page_size = 65536", "VACUUM"),
    "an index of an expression": ("CREATE INDEX mine ON embeddings (lower(embedding_id), seq_id + 1)",),
    "a unique index of one's own": ("CREATE UNIQUE INDEX mine ON embeddings (embedding_id, segment_id, id)",),
    "other blanks in the statement": (
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, ' UNIQUE', char(10) || 'UNIQUE') WHERE name = 'embeddings'",
    ),
}


@pytest.mark.parametrize("what", ODD)
def test_keys_come_back_whatever_lies_around_them(what: str, database: Path) -> None:
    run(database, *ODD[what])
    before = content_of(database)
    assert set(leave_out(database)[0]) >= NAMES
    put_back(database)
    assert content_of(database) == before


OTHER_TABLES = {
    "a table without row numbers": (
        "CREATE TABLE made (id INTEGER NOT NULL, segment_id TEXT NOT NULL, embedding_id TEXT NOT NULL, seq_id BLOB,"
        " created_at TIMESTAMP, PRIMARY KEY (segment_id, embedding_id)) WITHOUT ROWID"
    ),
    "another collation": (
        "CREATE TABLE made (id INTEGER PRIMARY KEY, segment_id TEXT NOT NULL, embedding_id TEXT NOT NULL"
        " COLLATE NOCASE, seq_id BLOB NOT NULL, created_at TIMESTAMP, UNIQUE (segment_id, embedding_id))"
    ),
    "a further key": (
        "CREATE TABLE made (id INTEGER PRIMARY KEY, segment_id TEXT NOT NULL, embedding_id TEXT NOT NULL, seq_id BLOB"
        " NOT NULL, created_at TIMESTAMP, UNIQUE (segment_id, embedding_id), UNIQUE (embedding_id, segment_id, id))"
    ),
    "a generated column": (
        "CREATE TABLE made (id INTEGER PRIMARY KEY, segment_id TEXT NOT NULL, embedding_id TEXT NOT NULL, seq_id BLOB"
        " NOT NULL, created_at TIMESTAMP, more AS (seq_id + 1), UNIQUE (segment_id, embedding_id))"
    ),
}


@pytest.mark.parametrize("what", OTHER_TABLES)
def test_the_key_of_a_table_that_is_not_known_is_stored(what: str, database: Path) -> None:
    columns = "id, segment_id, embedding_id, seq_id, created_at"
    run(
        database,
        OTHER_TABLES[what],
        f"INSERT INTO made ({columns}) SELECT {columns} FROM embeddings",  # noqa: S608
        "DROP TABLE embeddings",
        "ALTER TABLE made RENAME TO embeddings",
    )
    before = content_of(database)
    assert set(leave_out(database)[0]) & NAMES == {METADATA}
    put_back(database)
    assert content_of(database) == before


AGAIN = (
    "INSERT INTO embeddings (segment_id, embedding_id, seq_id)"
    " SELECT segment_id, embedding_id, 1 FROM embeddings LIMIT 1"
)
UNSOUND = {
    "rows that the index lacks": (
        "embeddings",
        "INSERT INTO embeddings (segment_id, embedding_id, seq_id) VALUES ('s', 'e', 1)",
    ),
    "a key that is there twice": ("embeddings", AGAIN),
    "rows that are gone": (
        "embedding_metadata",
        "DELETE FROM embedding_metadata WHERE rowid % 100 = 7 AND key = 'text'",
    ),
    "another value": (
        "embedding_metadata",
        "UPDATE embedding_metadata SET key = 'texts' WHERE id = 5 AND key = 'text'",
    ),
}


@pytest.mark.parametrize("what", UNSOUND)
def test_an_index_that_is_not_what_its_table_says_is_stored_as_it_is(what: str, database: Path) -> None:
    table, statement = UNSOUND[what]
    without_its_index(database, table, statement)
    said = asked(database, f"PRAGMA integrity_check({table})")
    assert said != [("ok",)]
    everything = f"SELECT * FROM {table} NOT INDEXED ORDER BY rowid"  # noqa: S608
    rows = asked(database, everything)
    assert set(leave_out(database)[0]) & NAMES == {key.name for key in KEYS if key.table != table}
    put_back(database)
    assert asked(database, everything) == rows
    assert asked(database, f"PRAGMA integrity_check({table})") == said


def test_a_database_with_a_corrupt_page_of_a_key_stays_as_it_is(database: Path) -> None:
    [(page,)] = asked(database, f"SELECT rootpage FROM sqlite_master WHERE name = '{EMBEDDINGS}'")  # noqa: S608
    with open(database, "r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    before = database.read_bytes()
    assert leave_out(database) == ([], "database disk image is malformed")
    assert database.read_bytes() == before


def test_a_sqlite_that_guards_its_schema_stores_keys_and_refuses_to_make_them(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guarded(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("table sqlite_master may not be modified")

    before = content_of(database)
    elsewhere = Path(shutil.copytree(database.parent, tmp_path / "elsewhere")) / DATABASE
    truth = counted(elsewhere)
    assert set(leave_out(elsewhere)[0]) >= NAMES
    for module in (left_out, unique_keys):
        monkeypatch.setattr(module, "try_schema", guarded)
    names, why = leave_out(database)
    assert (len(names) > 5, set(names) & NAMES, why) == (True, set(), "")
    # So were all databases stored before keys were left out.
    make_readable(Path(shutil.copy(database, tmp_path / "copy.sqlite3")))
    put_back(database)
    assert content_of(database) == before
    with pytest.raises(
        Refused, match=r"may not be modified\): restore where .* or restore the collections into a server"
    ):
        put_back(elsewhere)
    make_readable(elsewhere)
    assert counted(elsewhere) == truth


DAMAGE = {
    "a key that is there twice": (AGAIN,),
    "the statement of another table": (
        f"UPDATE geometra_left_out SET sql = 'CREATE TABLE embeddings (id)' WHERE name = '{EMBEDDINGS}'",  # noqa: S608
    ),
    "no statement": (f"UPDATE geometra_left_out SET sql = NULL WHERE name = '{METADATA}'",),  # noqa: S608
    "a key that is not left out": (
        "DROP TABLE embeddings",
        next(key.statement for key in KEYS if key.table == "embeddings"),
    ),
    "no table": ("DROP TABLE embeddings",),
    "a table with a further column": ("ALTER TABLE embeddings ADD COLUMN more TEXT",),
    "an index that is not known": (
        "INSERT INTO geometra_left_out VALUES ('sqlite_autoindex_segments_1', 'CREATE TABLE segments (id)', 0, '')",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_keys_that_can_not_be_made_again_are_told(what: str, database: Path) -> None:
    leave_out(database)
    run(database, *DAMAGE[what])
    with pytest.raises(NotWhole) as raised:
        put_back(database)
    assert "\n" not in str(raised.value)

"""What is left out of Chroma's database is made again as it was, whatever it held; what is not known stays."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import Damaged, NoSpace, Refused, SourceError
from tasks.sources.chroma import left_out
from tasks.sources.chroma.left_out import leave_out, put_back, something_left_out, words_of
from tasks.sources.chroma.records import NotWhole
from tasks.sources.chroma.settings import ChromaSettings
from tasks.sources.chroma.stored_folder import DATABASE
from tasks.sources.chromadb import Chroma
from tasks.sources.source import Restoring
from tests.contracts.memory_items import Saved

NAMES = [
    "embedding_fulltext_search",
    "embedding_metadata_array_id_key",
    "embedding_metadata_array_key_float",
    "embedding_metadata_array_key_int",
    "embedding_metadata_array_key_string",
    "embedding_metadata_float_value",
    "embedding_metadata_int_value",
    "embedding_metadata_string_value",
    "sqlite_autoindex_embedding_metadata_1",
    "sqlite_autoindex_embeddings_1",
]
MADE_BY_FTS5 = ("embedding_fulltext_search_data", "embedding_fulltext_search_idx")


@pytest.fixture
def database(filled_chroma: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled_chroma, tmp_path / "store")) / DATABASE


def source_of(database: Path, tmp_path: Path, **options: str) -> Chroma:
    given = {"kind": "chroma", "path": database.parent, "scratch": tmp_path / "scratch"}
    return Chroma("tested", ChromaSettings.model_validate(given | options))


def run(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def content_of(database: Path) -> dict[str, Any]:
    """Its schema, all rows of all tables but how FTS5 lays out its index, and what that index finds."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(
            "INSERT INTO embedding_fulltext_search(embedding_fulltext_search) VALUES ('integrity-check')"
        )
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        schema = sorted(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"), key=repr)
        tables = [name for kind, name, *_ in schema if kind == "table" and name not in MADE_BY_FTS5]
        rows = {name: sorted(connection.execute(f"SELECT * FROM '{name}'"), key=repr) for name in tables}  # noqa: S608
        patterns = ("%text%", "%ünï%", "%replaced%", "%a%")
        search = "SELECT rowid FROM embedding_fulltext_search WHERE string_value LIKE ?"
        found = [connection.execute(search, [pattern]).fetchall() for pattern in patterns]
        header = connection.execute("PRAGMA application_id").fetchall()
    return {"schema": schema, "rows": rows, "found": found, "header": header}


def test_a_database_comes_back_with_all_that_it_held_and_found(database: Path) -> None:
    before, size = content_of(database), database.stat().st_size
    words = words_of(database)
    assert leave_out(database) == (NAMES, "")
    assert something_left_out(database)
    assert database.stat().st_size == size
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM embedding_fulltext_search").fetchone() == (0,)
        free, all_pages = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count")
        )
    assert free > all_pages / 4
    put_back(database)
    assert content_of(database) == before
    assert words_of(database) == words
    assert not something_left_out(database)
    assert leave_out(database) == (NAMES, ""), "what was restored is captured as any other"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.one_of(st.none(), TEXTS, st.integers(-9, 9), st.binary(max_size=6), st.just("same"))
RECORDS = st.lists(
    st.tuples(st.one_of(st.none(), TEXTS, st.binary(max_size=6)), st.one_of(st.just("absent"), VALUES)), max_size=20
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=RECORDS, odd=st.booleans())
def test_whatever_the_index_of_words_was_given_comes_back(
    filled_chroma: Path, tmp_path_factory: pytest.TempPathFactory, records: list[tuple[Any, Any]], odd: bool
) -> None:
    """`records`: of each its document and what the index of words was given instead; *same* means its document."""
    path = tmp_path_factory.mktemp("made") / DATABASE
    with closing(sqlite3.connect(filled_chroma / DATABASE)) as source, closing(sqlite3.connect(path)) as made:
        for sql, name in source.execute("SELECT sql, name FROM sqlite_master WHERE sql IS NOT NULL"):
            if "embedding_metadata" in name or name == "embedding_fulltext_search":
                made.execute(sql)
        given = [(1000 + number, f"padding {number} " * 40, "same") for number in range(200)]
        given += [(number, *record) for number, record in enumerate(records)]
        for number, document, words in given:
            key = (number, "chroma:document", document)
            made.execute("INSERT INTO embedding_metadata (id, key, string_value) VALUES (?, ?, ?)", key)
            if words != "absent":
                row = (number, document if words == "same" else words)
                made.execute("INSERT INTO embedding_fulltext_search (rowid, string_value) VALUES (?, ?)", row)
        if odd:
            for stray in (None, "no number"):
                made.execute("INSERT INTO embedding_metadata (id, key) VALUES (?, 'chroma:document')", [stray])
            made.execute("UPDATE embedding_metadata SET string_value = 'of no record' WHERE typeof(id) <> 'integer'")
        made.commit()
    before = content_of(path)
    names, why = leave_out(path)
    assert (bool(names), why) == (True, "")
    put_back(path)
    assert content_of(path) == before


UNKNOWN = {
    "another index of words": (
        "DROP TABLE embedding_fulltext_search",
        "CREATE VIRTUAL TABLE embedding_fulltext_search USING fts5(string_value, tokenize='porter')",
    ),
    "a further column": ("ALTER TABLE embedding_metadata ADD COLUMN more TEXT",),
    "a table of the future": ("CREATE TABLE embedding_fulltext_search_new (id)",),
    "settings of its own": (
        "INSERT INTO embedding_fulltext_search(embedding_fulltext_search, rank) VALUES ('pgsz', 1000)",
    ),
    "a trigger": ("CREATE TRIGGER t AFTER DELETE ON segments BEGIN DELETE FROM tenants; END",),
    "a view": ("CREATE VIEW v AS SELECT 1",),
    "statistics of indexes": ("ANALYZE",),
    "another program's mark": ("PRAGMA application_id = 7",),
    "a write-ahead log": ("PRAGMA journal_mode = WAL",),
    "pages that move": ("PRAGMA auto_vacuum = FULL", "VACUUM"),
    "no index of words": ("DROP TABLE embedding_fulltext_search",),
    "few rows": (
        "DELETE FROM embedding_metadata",
        "DELETE FROM embedding_metadata_array",
        "DELETE FROM embeddings",
        "DELETE FROM embedding_fulltext_search",
        "INSERT INTO embedding_fulltext_search(embedding_fulltext_search) VALUES ('rebuild')",
        "VACUUM",
    ),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_is_not_known_stays_as_it_is_and_says_why(what: str, database: Path) -> None:
    run(database, *UNKNOWN[what])
    before = database.read_bytes()
    names, why = leave_out(database)
    assert names == []
    assert len(why) > 10
    assert "\n" not in why
    assert database.read_bytes() == before


def test_a_folder_of_a_chroma_that_is_not_known_is_captured_and_restored_all_the_same(
    database: Path, tmp_path: Path
) -> None:
    run(database, *UNKNOWN["another index of words"], *UNKNOWN["a trigger"])
    source = source_of(database, tmp_path)
    saved = Saved(source.capture())
    assert saved.flaws == []
    assert saved.facts["indexes"] == {"stored": "its index of words is not the one that is known of Chroma 0.5 to 1.5"}
    assert source.restore(saved, saved, tmp_path / "back", Restoring()) == []
    with (
        closing(sqlite3.connect(tmp_path / "back/store" / DATABASE)) as back,
        closing(sqlite3.connect(database)) as here,
    ):
        assert list(back.iterdump()) == list(here.iterdump())


def test_a_database_is_only_stored_smaller_if_the_source_says_so(database: Path, tmp_path: Path) -> None:
    saved = Saved(source_of(database, tmp_path, indexes="store").capture())
    assert saved.facts["indexes"] == {"stored": "as the source's `indexes` says"}
    stored = saved[b"store/" + DATABASE.encode()].content
    # A snapshot of this form, as all were once, comes back byte for byte whatever the source says today.
    Chroma("tested", ChromaSettings.model_construct(kind="chroma")).restore(
        saved, saved, tmp_path / "back", Restoring()
    )
    assert (tmp_path / "back/store" / DATABASE).read_bytes() == stored


def test_a_sqlite_without_such_an_index_stores_all_and_refuses_to_make_one(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("no such tokenizer: trigram")

    source = source_of(database, tmp_path)
    saved = Saved(source.capture())
    monkeypatch.setattr(left_out, "_try_words", none)
    assert "no such tokenizer: trigram" in Saved(source.capture()).facts["indexes"]["stored"]
    with pytest.raises(Refused, match=r"SQLite 3\.34 or newer, or restore the collections into a server"):
        source.restore(saved, saved, tmp_path / "back", Restoring())
    assert not (tmp_path / "back/store" / DATABASE).exists()


DAMAGE: dict[str, tuple[str, ...]] = {
    "a document is another": (
        "UPDATE embedding_metadata SET string_value = 'x' WHERE id = 5 AND key = 'chroma:document'",
    ),
    "a document is gone": ("DELETE FROM embedding_metadata WHERE id = 5 AND key = 'chroma:document'",),
    "no word of what is left out": ("DROP TABLE geometra_left_out",),
    "a statement of somebody else's": ("UPDATE geometra_left_out SET sql = 'DELETE FROM segments' WHERE sql <> ''",),
    "a trigger": ("CREATE TRIGGER t AFTER INSERT ON embedding_metadata BEGIN DELETE FROM tenants; END",),
    "rows twice": ("INSERT INTO geometra_other_words VALUES (5, 'x')",),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_does_not_come_out_as_it_was_is_no_whole_database(what: str, database: Path) -> None:
    leave_out(database)
    run(database, *DAMAGE[what])
    with pytest.raises(NotWhole) as raised:
        put_back(database)
    assert "\n" not in str(raised.value)


def test_nothing_is_written_of_a_database_that_does_not_come_out_as_it_was(database: Path, tmp_path: Path) -> None:
    source = source_of(database, tmp_path)
    saved = Saved(source.capture())
    item = saved[b"store/" + DATABASE.encode()]
    (tmp_path / "changed").write_bytes(item.content)
    run(tmp_path / "changed", *DAMAGE["a document is another"])
    broken = item._replace(content=(tmp_path / "changed").read_bytes())
    with pytest.raises(Damaged, match="but its collections can, into a server") as raised:
        source.restore(saved, [broken], tmp_path / "back", Restoring())
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "back/store" / DATABASE).exists()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_copy_that_still_lacks_something_is_not_taken_for_whole(database: Path, tmp_path: Path) -> None:
    source = source_of(database, tmp_path)
    leave_out(database)
    with pytest.raises(SourceError, match="was not made again"):
        source.examine(tmp_path)


def test_a_folder_without_room_for_it_is_told_as_such(database: Path, disk_of: Callable[[int], Path]) -> None:
    leave_out(database)
    # More than what was left out had: else its pages are free to be used again.
    run(
        database, "INSERT INTO geometra_other_words SELECT id + 1000000, hex(zeroblob(200000)) FROM embeddings LIMIT 60"
    )
    disk = disk_of(database.stat().st_size + (1 << 20))
    shutil.copy(database, disk)
    with pytest.raises(NoSpace, match="no room in"):
        put_back(disk / DATABASE)

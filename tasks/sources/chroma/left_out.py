"""What SQLite can make again, exactly, from the rest of Chroma's database, and so is not stored: the index of words
(FTS5), which holds every document a second time and all its trigrams, the indexes of metadata, which hold each a
third time, and those of keys. Of long documents that is three quarters of the database.

`leave_out` empties them in a copy, which stays a sound database whose other pages keep their places; `put_back` is its
reverse. The database itself says in its header that something is left out, and in tables of ours what. Only what is
known to the letter, and shown row by row to follow from the rest, is left out. Layout of the header:
https://www.sqlite.org/fileformat2.html#the_database_header; of the index of words: https://www.sqlite.org/fts5.html.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from tasks.errors import NoSpace, Refused
from tasks.sources.chroma.records import NotWhole
from tasks.sources.chroma.unique_keys import KEYS, drop_keys, in_one_line, make_keys, try_schema

HEADER = 100
"""So many bytes at the start of a database tell whether something is left out of it."""

_MARK, _MARK_AT = 0x47654C6F, 68
WORDS = "embedding_fulltext_search"
_KNOWN = {
    WORDS: f"CREATE VIRTUAL TABLE {WORDS} USING fts5(string_value, tokenize='trigram')",
    f"{WORDS}_data": f"CREATE TABLE '{WORDS}_data'(id INTEGER PRIMARY KEY, block BLOB)",
    f"{WORDS}_idx": f"CREATE TABLE '{WORDS}_idx'(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID",
    f"{WORDS}_content": f"CREATE TABLE '{WORDS}_content'(id INTEGER PRIMARY KEY, c0)",
    f"{WORDS}_docsize": f"CREATE TABLE '{WORDS}_docsize'(id INTEGER PRIMARY KEY, sz BLOB)",
    f"{WORDS}_config": f"CREATE TABLE '{WORDS}_config'(k PRIMARY KEY, v) WITHOUT ROWID",
}
_KEYS = {key.name for key in KEYS}
_METADATA = next((key.statement, key.without) for key in KEYS if key.table == "embedding_metadata")
# Of plain columns, by SQLite's own order.
_INDEX = re.compile(
    r"CREATE INDEX \w+ ON (embedding_metadata|embedding_metadata_array)"
    r" (\(key, \w+\) WHERE \w+ IS NOT NULL|\(id, key\))"
)

_DOCUMENT = "m.key = 'chroma:document' AND m.string_value IS NOT NULL AND typeof(m.id) = 'integer'"
_SAME = f"m.id = w.id AND {_DOCUMENT} AND typeof(m.string_value) = typeof(w.c0) AND m.string_value IS w.c0"
# Rows that are not the record's document are kept as they are: of a record without one, Chroma 0.5 and 0.6 have such a
# row, without text.
_TAKE_OUT = f"""
    CREATE TABLE geometra_left_out (name TEXT, sql TEXT, rows INTEGER, digest TEXT);
    CREATE TABLE geometra_other_words AS SELECT w.id, w.c0 FROM embedding_fulltext_search_content w
        WHERE NOT EXISTS (SELECT 1 FROM embedding_metadata m WHERE {_SAME});
    CREATE TABLE geometra_without_words AS SELECT m.id FROM embedding_metadata m
        WHERE {_DOCUMENT} AND NOT EXISTS (SELECT 1 FROM embedding_fulltext_search_content w WHERE {_SAME});
    DELETE FROM embedding_fulltext_search_content;
    INSERT INTO embedding_fulltext_search(embedding_fulltext_search) VALUES ('rebuild')
"""  # noqa: S608 - fixed names
_PUT_BACK = f"""
    INSERT INTO embedding_fulltext_search_content SELECT id, c0 FROM geometra_other_words;
    INSERT INTO embedding_fulltext_search_content SELECT m.id, m.string_value FROM embedding_metadata m
        WHERE {_DOCUMENT} AND m.id NOT IN (SELECT id FROM geometra_without_words) ORDER BY m.id;
    INSERT INTO embedding_fulltext_search(embedding_fulltext_search) VALUES ('rebuild');
    DROP TABLE geometra_other_words;
    DROP TABLE geometra_without_words;
    DROP TABLE geometra_left_out;
    PRAGMA application_id = 0
"""  # noqa: S608 - fixed names
_CHECK = "INSERT INTO embedding_fulltext_search(embedding_fulltext_search) VALUES ('integrity-check')"
_LEAST_PAGES = 16
_CACHE_KIB = 32 << 10


class Words(NamedTuple):
    """What the index of words was given: rows, and a digest over them."""

    rows: int
    digest: str


class _LeftOut(NamedTuple):
    """What a database says of what is left out of it: what the index of words held; the statements of indexes; the
    names of those of keys, and the statements of their tables."""

    words: Words
    indexes: list[str]
    keys: dict[str, str]

    @classmethod
    def of(cls, connection: sqlite3.Connection) -> _LeftOut:
        """Raises `NotWhole`."""
        rows = connection.execute("SELECT name, sql, rows, digest FROM geometra_left_out").fetchall()
        words = [Words(number, digest) for name, _, number, digest in rows if name == WORDS]
        keys = {name: sql for name, sql, *_ in rows if name in _KEYS}
        indexes = [sql for name, sql, *_ in rows if name != WORDS and name not in keys]
        if len(words) != 1 or not all(_INDEX.fullmatch(in_one_line(sql)) for sql in indexes):
            raise NotWhole("what a database says of what is left out of it makes no sense")
        return cls(words[0], indexes, keys)


class _Unlike(Exception):
    """The database is not as what is known; the text says in what."""


def words_of(database: Path) -> Words | None:
    """Of a database that nobody writes; None where it has no such index. Raises `NotWhole`."""
    with _opened(database, "ro") as connection:
        known = connection.execute(f"PRAGMA table_info({WORDS}_content)").fetchall()
        return _counted(connection) if [name for _, name, *_ in known] == ["id", "c0"] else None


def is_left_out(start: bytes) -> bool:
    """Of a database that begins so."""
    return int.from_bytes(start[_MARK_AT : _MARK_AT + 4], "big") == _MARK


def something_left_out(database: Path) -> bool:
    with open(database, "rb") as file:
        return is_left_out(file.read(HEADER))


def leave_out(database: Path, words: Words | None = None) -> tuple[list[str], str]:
    """Take out what `put_back` makes again: its names, or why nothing was. The file keeps its size. `words` are its
    `words_of` where these are known. Raises `NotWhole`, `NoSpace`; a database that can't be made smaller stays as it
    is."""
    with _opened(database, "rw") as connection:
        connection.execute("PRAGMA synchronous = OFF")  # it is a copy, which a crash takes along as a whole
        connection.execute("PRAGMA secure_delete = OFF")  # who stores it clears the free pages
        try:
            _check_known(connection)
            try:
                _try_words(connection)
            except sqlite3.OperationalError as error:
                raise _Unlike(
                    f"this host's SQLite {sqlite3.sqlite_version} has no such index of words: {error}"
                ) from error
            connection.execute("BEGIN IMMEDIATE")
            names = _emptied(connection, words)
            connection.execute("COMMIT")
        except (_Unlike, sqlite3.Error) as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
                raise
            return [], str(error)
        return names, ""


def put_back(database: Path) -> None:
    """Make again what is left out of a database that nobody else has open, and prove it. What is raised leaves the file
    useless: `NotWhole` where it is not what was left out, `NoSpace`, `Refused` where this SQLite can't."""
    with _opened(database, "rw") as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = OFF")
        try:
            _check_known(connection)
        except _Unlike as error:
            raise NotWhole(f"what is left out of `{database.name}` can't be made again: {error}") from error
        left_out = _LeftOut.of(connection)
        try:
            _try_words(connection)
            if left_out.keys:
                try_schema(connection)
        except sqlite3.OperationalError as error:
            raise Refused(
                f"this host's SQLite {sqlite3.sqlite_version} can't make again what is left out ({error}): restore"
                " where Python has SQLite 3.34 or newer, or restore the collections into a server"
            ) from error
        connection.execute("BEGIN EXCLUSIVE")
        _refill(connection, left_out)
        connection.execute("COMMIT")
        connection.execute(_CHECK)
        checked = connection.execute("PRAGMA quick_check(1)").fetchall()
        found = _counted(connection)
        if found != left_out.words or checked != [("ok",)]:
            raise NotWhole(
                f"`{database.name}` holds {found.rows} documents in its index of words, and not the"
                f" {left_out.words.rows} that were captured; SQLite says: {checked[0][0]}"
            )


def make_readable(database: Path) -> None:
    """Give a database that lacks something what its records are looked up by, and no more: for a copy that is read by
    us alone, with any SQLite. Raises `NotWhole`, `NoSpace`."""
    with _opened(database, "rw") as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        left_out = _LeftOut.of(connection)
        for key in KEYS:
            if key.name in left_out.keys:
                connection.execute(f"CREATE INDEX geometra_{key.table} ON {key.table} ({key.columns})")
        for statement in left_out.indexes:
            if in_one_line(statement).endswith("(id, key)"):
                connection.execute(statement)


def _check_known(connection: sqlite3.Connection) -> None:
    """Raises `_Unlike`."""
    schema = {name: (kind, sql) for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master")}
    if WORDS not in schema:
        raise _Unlike("it has no index of words")
    of_words = {name for name in schema if name.startswith(WORDS)}
    found = {name: in_one_line(sql) for name, (_, sql) in schema.items()}
    if of_words - _KNOWN.keys() or any(found.get(name) != sql for name, sql in _KNOWN.items()):
        raise _Unlike("its index of words is not the one that is known of Chroma 0.5 to 1.5")
    if found.get("embedding_metadata") not in _METADATA:
        raise _Unlike("its table of metadata is not the one that is known of Chroma 0.5 to 1.5")
    if odd := [name for name, (kind, _) in schema.items() if kind in ("trigger", "view")]:
        raise _Unlike(f"it has `{odd[0]}`, which Chroma does not make")
    if connection.execute("SELECT k, v FROM embedding_fulltext_search_config").fetchall() != [("version", 4)]:
        raise _Unlike("its index of words has settings of its own")
    settings = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("auto_vacuum", "journal_mode")}
    if settings["auto_vacuum"] or settings["journal_mode"] == "wal":
        raise _Unlike(f"it is set up otherwise than Chroma does: {settings}")


def _try_words(connection: sqlite3.Connection) -> None:
    """Raises `sqlite3.OperationalError` where this SQLite has no such index."""
    connection.execute("CREATE VIRTUAL TABLE temp.geometra_try USING fts5(c0, tokenize='trigram')")
    connection.execute("DROP TABLE temp.geometra_try")


def _emptied(connection: sqlite3.Connection, words: Words | None) -> list[str]:
    """The names of what was emptied. Raises `_Unlike`, in the middle of it."""
    pages, free = _pages(connection)
    if connection.execute("PRAGMA application_id").fetchone() != (0,):
        raise _Unlike("its header is marked by another program")
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name LIKE 'sqlite_stat%'").fetchone():
        raise _Unlike("it has statistics of its indexes, which would go with them")
    words = words or _counted(connection)
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'").fetchall()
    indexes = [(name, sql) for name, sql in found if _INDEX.fullmatch(in_one_line(sql))]
    # First, so that there is room for tables of ours without a further page.
    for name, _ in indexes:
        connection.execute(f'DROP INDEX "{name}"')
    for statement in _TAKE_OUT.split(";"):
        connection.execute(statement)
    indexes += drop_keys(connection).items()  # last, for the tables of ours are made by them
    connection.execute("INSERT INTO geometra_left_out VALUES (?, '', ?, ?)", (WORDS, *words))
    connection.executemany("INSERT INTO geometra_left_out VALUES (?, ?, 0, '')", indexes)
    connection.execute(f"PRAGMA application_id = {_MARK}")
    after, free_after = _pages(connection)
    if after != pages or free_after - free < _LEAST_PAGES:
        raise _Unlike("little would be gained")
    return sorted([WORDS, *(name for name, _ in indexes)])


def _pages(connection: sqlite3.Connection) -> tuple[int, int]:
    """All, and those that are free."""
    pages, free = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    return pages, free


def _refill(connection: sqlite3.Connection, left_out: _LeftOut) -> None:
    make_keys(connection, left_out.keys)  # first: what else is made again is looked up by them, and they are proven
    for statement in [*_PUT_BACK.split(";"), *left_out.indexes]:
        connection.execute(statement)


def _counted(connection: sqlite3.Connection) -> Words:
    digest, rows = blake3(), 0
    for number, kind, text in connection.execute(
        "SELECT id, typeof(c0), CAST(c0 AS BLOB) FROM embedding_fulltext_search_content ORDER BY id"
    ):
        digest.update(b"%d %s %d\n" % (number, kind.encode(), len(text or b"")))
        digest.update(text or b"")
        rows += 1
    return Words(rows, digest.hexdigest())


@contextmanager
def _opened(database: Path, mode: str) -> Iterator[sqlite3.Connection]:
    try:
        with closing(
            sqlite3.connect(f"{database.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
        ) as connection:
            connection.execute(f"PRAGMA cache_size = {-_CACHE_KIB}")
            yield connection
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            raise NoSpace(
                f"no room in `{database.parent}`, or where SQLite sorts (SQLITE_TMPDIR, else TMPDIR, else /var/tmp):"
                " free some space, or let these variables name a larger disk"
            ) from error
        raise NotWhole(f"`{database.name}` can't be read: {error}") from error

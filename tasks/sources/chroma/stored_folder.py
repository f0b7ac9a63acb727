"""A persist folder that nobody writes, read without Chroma: its collections, and their records as Chroma shows them.

What Chroma has committed but not yet taken into its tables or its vector index waits in `embeddings_queue`; it is
replayed here as Chroma replays it when it opens the folder.
"""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tasks.sources.chroma.hnsw import PICKLE, Hnsw
from tasks.sources.chroma.records import BATCH, Batch, Collection, JsonObject, NotWhole, Record

if TYPE_CHECKING:
    from tasks.numbers import NDArray
    from tasks.numbers import numpy as np

DATABASE = "chroma.sqlite3"
PERSISTED = "urn:chroma:segment/vector/hnsw-local-persisted"
_DOCUMENT, _URI = "chroma:document", "chroma:uri"
_ADD, _UPDATE, _UPSERT, _DELETE = range(4)
_VALUE = "coalesce(m.string_value, m.int_value, m.float_value), m.bool_value"
_first = itemgetter(0)


class StoredFolder:
    """Use as a context. Raises `NotWhole` for what is no Chroma folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.database = sqlite3.connect(f"file:{quote(str(folder / DATABASE))}?mode=ro", uri=True)
        except sqlite3.Error as error:
            raise NotWhole(f"`{DATABASE}` can't be opened: {error}") from error

    def __enter__(self) -> StoredFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close()

    def rows(self, statement: str, *values: Any) -> Iterator[Any]:
        """Each call has a cursor of its own. Raises `NotWhole`."""
        with closing(self.database.cursor()) as cursor:
            try:
                yield from cursor.execute(statement, values)
            except sqlite3.Error as error:
                raise NotWhole(f"`{DATABASE}` can't be read: {error}") from error

    def columns(self, table: str) -> set[str]:
        """Empty for a table that this version of Chroma has not."""
        return {name for _, name, *_ in self.rows(f"PRAGMA table_info({table})")}

    def collections(self) -> list[StoredCollection]:
        """All, in the order of tenant, database and name."""
        extra = self._known("collections", ("config_json_str", "schema_str"))
        found = self.rows(
            f"SELECT c.id, d.tenant_id, d.name, c.name, c.dimension, {extra}"  # noqa: S608 - fixed names
            " FROM collections c JOIN databases d ON d.id = c.database_id"
        )
        made = []
        for number, tenant, database, name, dimension, configuration, schema in list(found):
            metadata = self._metadata(number)
            about = Collection(tenant, database, name, dimension, metadata, _object(configuration), _object(schema))
            made.append(StoredCollection(self, number, about))
        return sorted(made, key=lambda each: (each.about.tenant, each.about.database, each.about.name))

    def _known(self, table: str, columns: Iterable[str]) -> str:
        """To be selected; NULL for each column that this version of Chroma has not."""
        known = self.columns(table)
        return ", ".join(name if name in known else "NULL" for name in columns)

    def _metadata(self, number: str) -> JsonObject | None:
        values = self._known("collection_metadata", ("str_value", "int_value", "float_value", "bool_value"))
        rows = self.rows(
            f"SELECT key, {values} FROM collection_metadata WHERE collection_id = ?",  # noqa: S608 - fixed names
            number,
        )
        return {key: _value(values) for key, *values in rows} or None

    def check(self) -> None:
        """Raises `NotWhole` where SQLite finds the database, or its index of words, damaged."""
        found = [row[0] for row in self.rows("PRAGMA quick_check(1)")]
        if found != ["ok"]:
            raise NotWhole(f"`{DATABASE}` is damaged: {found[:1]}")

    @cached_property
    def topics(self) -> dict[str, list[str]]:
        """The topics of the queue by collection: they begin with a tenant and a namespace in some versions."""
        topics: dict[str, list[str]] = {}
        for (topic,) in self.rows("SELECT DISTINCT topic FROM embeddings_queue"):
            topics.setdefault(topic.rpartition("/")[2], []).append(topic)
        return topics


class StoredCollection:
    """`Records` of one collection. After all `batches`, `without_vector` names the records that have none, which no
    batch holds, and `without_record` counts the vectors that belong to none."""

    def __init__(self, folder: StoredFolder, number: str, about: Collection) -> None:
        self.about = about
        self.number = number
        self.without_vector: list[str] = []
        self.without_record = 0
        self._folder = folder
        self._segments = {
            scope: (segment, kind)
            for segment, kind, scope in folder.rows("SELECT id, type, scope FROM segments WHERE collection = ?", number)
        }
        if not all(isinstance(segment, str) for segment, _ in self._segments.values()):
            raise NotWhole(f"a segment of `{about.label}` has a name that is no text")

    @cached_property
    def segment(self) -> str:
        """The name of the folder of its vector segment; "" if it has none."""
        segment, kind = self._segments.get("VECTOR", ("", ""))
        return segment if kind == PERSISTED else ""

    @cached_property
    def index(self) -> Hnsw | None:
        """None while all of its vectors are in the queue. Raises `NotWhole`."""
        folder = self._folder.folder / self.segment
        return Hnsw(folder) if self.segment and (folder / PICKLE).exists() else None

    def batches(self) -> Iterator[Batch]:
        from tasks.numbers import numpy as np

        self.without_vector, seen = [], 0
        queued = self._queued_vectors()
        records = self._records()
        while batch := list(islice(records, BATCH)):
            rows = self._rows([each.id for each in batch])
            has = [bool(queued.get(each.id, row >= 0)) for each, row in zip(batch, rows.tolist(), strict=True)]
            self.without_vector += [each.id for each, there in zip(batch, has, strict=True) if not there]
            whole = [each for each, there in zip(batch, has, strict=True) if there]
            seen += len(whole)
            if whole:
                yield Batch(whole, self._vectors(whole, rows[has], queued))
        indexed = self.index.labels if self.index else ()
        gone = sum(name in indexed for name, at in queued.items() if not at)
        new = sum(name not in indexed for name, at in queued.items() if at)
        self.without_record = len(indexed) - gone + new - seen
        if not seen:
            yield Batch([], np.zeros((0, self.about.dimension or 0), np.float32))

    def _rows(self, names: Sequence[str]) -> NDArray[np.int64]:
        """In the index; -1 where it has none."""
        from tasks.numbers import numpy as np

        return self.index.rows(names) if self.index else np.full(len(names), -1)

    def _vectors(self, records: list[Record], rows: NDArray[np.int64], queued: dict[str, int]) -> NDArray[np.float32]:
        from tasks.numbers import numpy as np

        dimension = self.about.dimension or (self.index.dimension if self.index else 0)
        vectors = np.empty((len(records), dimension), np.float32)
        indexed = [at for at, record in enumerate(records) if not queued.get(record.id)]
        if indexed and self.index:
            if self.index.dimension != dimension:
                raise NotWhole(
                    f"`{self.about.label}` has {dimension} dimensions and its vectors {self.index.dimension}"
                )
            vectors[indexed] = self.index.vectors(rows[indexed], normalized=self.about.distance == "cosine")
        for at, record in enumerate(records):
            if number := queued.get(record.id):
                row = next(self._folder.rows("SELECT vector FROM embeddings_queue WHERE seq_id = ?", number))
                if len(row[0]) != 4 * dimension:
                    raise NotWhole(f"`{self.about.label}` has a vector of another size than {dimension} dimensions")
                vectors[at] = np.frombuffer(row[0], "<f4")
        return vectors

    def _queued_vectors(self) -> dict[str, int]:
        """Where in the queue the vector is of each id that the index does not have as it must be; 0: deleted."""
        queued: dict[str, int] = {}
        indexed = self.index.labels if self.index else ()
        for number, operation, name, has_vector, _ in self._queue("VECTOR"):
            there = queued.get(name, name in indexed)
            if operation == _DELETE:
                if there:
                    queued[name] = 0
            elif has_vector and (operation == _UPSERT or bool(there) == (operation == _UPDATE)):
                queued[name] = number
        return queued

    def _queue(self, scope: str) -> Iterator[tuple[int, int, str, bool, JsonObject]]:
        """What a segment has not taken in yet: number, operation, id, whether a vector comes along, metadata."""
        taken = self._taken(scope)
        parts = [
            self._folder.rows(
                "SELECT seq_id, operation, id, vector IS NOT NULL, metadata FROM embeddings_queue"
                " WHERE topic = ? AND seq_id > ? ORDER BY seq_id",
                topic,
                taken,
            )
            for topic in self._folder.topics.get(self.number, ())
        ]
        for number, operation, name, has_vector, metadata in heapq.merge(*parts, key=lambda row: row[0]):
            yield number, operation, name, bool(has_vector), _object(metadata) or {}

    def _taken(self, scope: str) -> int:
        """The last number of the queue that a segment has taken in. Before 0.5 a BLOB, and of vectors in their index;
        newer versions go by that too for one that they have not written since."""
        segment, _ = self._segments.get(scope, ("", ""))
        for (taken,) in self._folder.rows("SELECT seq_id FROM max_seq_id WHERE segment_id = ?", segment):
            return int.from_bytes(taken, "big") if isinstance(taken, bytes) else int(taken)
        return self.index.taken if scope == "VECTOR" and self.index else 0

    def _records(self) -> Iterator[Record]:
        """All records, by id."""
        pending = self._pending()
        stored = self._stored()
        if pending:
            kept = (each for each in stored if each[0] not in pending)
            changed = ((name, values) for name, values in sorted(pending.items()) if values is not None)
            stored = heapq.merge(kept, changed, key=lambda each: each[0])
        for name, values in stored:
            document, uri = values.pop(_DOCUMENT, None), values.pop(_URI, None)
            yield Record(name, document, uri, values or None)

    def _stored(self, name: str | None = None) -> Iterator[tuple[str, JsonObject]]:
        """What the tables hold, of all records or one: each id and all that was given along with it."""
        segment, _ = self._segments.get("METADATA", ("", ""))
        one = (segment,) if name is None else (segment, name)
        where = "e.segment_id = ?" + ("" if name is None else " AND e.embedding_id = ?")
        single = self._folder.rows(
            f"SELECT e.embedding_id, m.key, {_VALUE} FROM embeddings e"  # noqa: S608 - fixed names
            f" LEFT JOIN embedding_metadata m ON m.id = e.id WHERE {where} ORDER BY e.embedding_id",
            *one,
        )
        several: Iterator[Any] = iter(())
        if self._folder.columns("embedding_metadata_array"):
            several = self._folder.rows(
                f"SELECT e.embedding_id, m.key, {_VALUE} FROM embeddings e JOIN embedding_metadata_array m"  # noqa: S608
                f" ON m.id = e.id WHERE {where} ORDER BY e.embedding_id, m.key, m.rowid",
                *one,
            )
        arrays = groupby(several, key=_first)
        next_name, next_rows = next(arrays, (None, iter(())))
        for each, rows in groupby(single, key=_first):
            values: dict[Any, Any] = {}
            for _, key, value, boolean in rows:
                values[key] = value if boolean is None else bool(boolean)
            values.pop(None, None)  # of a record to which nothing was given along
            if each == next_name:
                for _, key, value, boolean in next_rows:
                    values.setdefault(key, []).append(value if boolean is None else bool(boolean))
                next_name, next_rows = next(arrays, (None, iter(())))
            yield each, values

    def _pending(self) -> dict[str, JsonObject | None]:
        """The records that the queue changes, as they will be; None: deleted."""
        pending: dict[str, JsonObject | None] = {}
        for _, operation, name, _, given in self._queue("METADATA"):
            if name not in pending:
                pending[name] = next((values for _, values in self._stored(name)), None)
            held = pending[name]
            if operation == _DELETE:
                pending[name] = None
            elif operation == _UPSERT or (held is None) == (operation == _ADD):
                merged = (held or {}) | given
                pending[name] = {key: value for key, value in merged.items() if value is not None and value != []}
        return pending


def _value(given: Iterable[Any]) -> Any:
    text, number, real, boolean = given
    if boolean is not None:
        return bool(boolean)
    return next((value for value in (text, number, real) if value is not None), None)


def _object(text: Any) -> JsonObject | None:
    """The object in a column of JSON; None for an empty one, which says no more than none. Raises `NotWhole`."""
    try:
        held = json.loads(text) if text else None
    except ValueError as error:
        raise NotWhole(f"`{DATABASE}` holds something that is no JSON") from error
    return held if isinstance(held, dict) and held else None

"""One collection of a server, read until it is whole: a server gives no snapshot, and no sign that something changed.

The ids are listed first, as pages by offset miss records; then all records are fetched, and fetched again. Where both
agree nothing changed in between. What differs is fetched again, until each record was the same twice in a row.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from blake3 import blake3

from tasks.sources.chroma.facts import line
from tasks.sources.chroma.records import BATCH, Batch, Collection, Record
from tasks.sources.chroma.server import Faulty, ServerCollection

_PASSES = 12
_TRIES = 3
_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class Reading:
    """How the reading of a collection went. `changed`: records that were seen to change, appear or go meanwhile; none
    proves that it is the collection at one moment. `unsettled`: those that never came the same twice. `bare`: those
    that have no vector."""

    changed: int
    unsettled: tuple[str, ...]
    bare: tuple[str, ...]


class Export:
    """`Records` of a collection, kept in a file while it is read. Use as a context."""

    def __init__(self, collection: ServerCollection, file: Path) -> None:
        self.about: Collection = collection.about
        self._collection = collection
        self._rows = sqlite3.connect(file, isolation_level=None)
        self._rows.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE rows (id TEXT PRIMARY KEY, digest BLOB, vector BLOB, rest TEXT)"
        )

    def __enter__(self) -> Export:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rows.close()

    def read(self) -> Reading:
        """Raises `Missing` if the collection is deleted meanwhile, `Unavailable`."""
        wanted = self._collection.ids()
        self._take(wanted)
        known = set(wanted)
        changed: set[str] = set()
        suspects: list[str] = wanted
        for _ in range(_PASSES):
            now = set(self._collection.ids())
            gone, new = known - now, now - known
            self._forget(gone)
            differing = self._take([name for name in suspects if name in now]) | self._take(sorted(new))
            changed |= gone | new | differing
            known = now
            suspects = sorted(differing | new)
            if not suspects:
                break
        bare = tuple(name for (name,) in self._ask("SELECT id FROM rows WHERE vector = x'' ORDER BY id"))
        return Reading(len(changed), tuple(suspects), bare)

    def batches(self) -> Iterator[Batch]:
        from tasks.numbers import numpy as np

        rows = self._ask("SELECT vector, rest FROM rows WHERE vector != x'' ORDER BY id")
        while some := list(islice(rows, BATCH)):
            vectors = np.frombuffer(b"".join(vector for vector, _ in some), "<f4").reshape(len(some), -1)
            yield Batch([Record(*json.loads(rest)) for _, rest in some], vectors)

    def _take(self, ids: Sequence[str]) -> set[str]:
        """Fetch these records; those that are not as they were before. A record that is gone meanwhile is no more."""
        differing: set[str] = set()
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            marks = ",".join("?" * len(some))
            before = dict(self._ask(f"SELECT id, digest FROM rows WHERE id IN ({marks})", *some))  # noqa: S608
            rows: list[tuple[str, bytes, bytes, str]] = []
            for record, vector in self._fetched(some):
                rest = line(record)
                digest = blake3(len(rest).to_bytes(8, "little") + rest + vector).digest(16)
                if before.pop(record.id, None) != digest:
                    rows.append((record.id, digest, vector, rest.decode("utf-8", "surrogatepass")))
            self._rows.execute("BEGIN")
            self._rows.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", rows)
            self._rows.execute("COMMIT")
            self._forget(before)
            differing |= {name for name, *_ in rows} | before.keys()
        return differing

    def _forget(self, ids: Iterable[str]) -> None:
        self._rows.executemany("DELETE FROM rows WHERE id = ?", [(name,) for name in ids])

    def _fetched(self, ids: Sequence[str]) -> list[tuple[Record, bytes]]:
        """Now and then a server fails at a record that is just being deleted: the others are fetched without it."""
        for attempt in range(_TRIES):
            try:
                return self._collection.fetch(ids)
            except Faulty:
                if attempt == _TRIES - 1 and len(ids) == 1:
                    raise
                time.sleep(_PAUSE * attempt)
        half = len(ids) // 2
        return self._fetched(ids[:half]) + self._fetched(ids[half:])

    def _ask(self, statement: str, *values: Any) -> Iterator[Any]:
        with closing(self._rows.cursor()) as cursor:
            yield from cursor.execute(statement, values)

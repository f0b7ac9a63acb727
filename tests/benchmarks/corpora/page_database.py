"""A real SQLite file of about 425 MB, like a vector store: text, metadata, embeddings; then 1 % of the rows change."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy

from tests.benchmarks.corpora.words import Prose

_DIMENSIONS = 192
_ROW = 2084  # bytes of file a row comes to, measured; only the file's size hangs on it


def make(folder: Path, scale: float, seed: int) -> None:
    rows = max(100, int(425_000_000 * scale) // _ROW)
    with closing(sqlite3.connect(folder / "vectors.sqlite3")) as database:
        database.executescript(
            "pragma page_size = 4096; pragma journal_mode = off; pragma synchronous = off;"
            "create table documents (id integer primary key, collection integer not null, key text not null,"
            " document text not null, metadata text not null, embedding blob not null, updated integer not null);"
        )
        with database:
            database.executemany("insert into documents values (?, ?, ?, ?, ?, ?, ?)", _rows(rows, seed))
            database.execute("create index by_collection on documents (collection, key)")


def change(folder: Path, scale: float, seed: int) -> None:
    """One row in a hundred gets a new embedding and a new time, in place: SQLite rewrites only their pages."""
    chance = numpy.random.default_rng([seed, 11])
    with closing(sqlite3.connect(folder / "vectors.sqlite3")) as database:
        database.executescript("pragma journal_mode = memory; pragma synchronous = off;")
        (rows,) = database.execute("select max(id) from documents").fetchone()
        with database:
            database.executemany(
                "update documents set embedding = ?, updated = ? where id = ?",
                (
                    (_embeddings(chance, 1)[0].tobytes(), 1_800_100_000 + number, int(row))
                    for number, row in enumerate(chance.choice(rows, rows // 100, replace=False) + 1)
                ),
            )


def _embeddings(chance: numpy.random.Generator, count: int) -> numpy.ndarray[Any, numpy.dtype[numpy.float32]]:
    vectors = chance.standard_normal((count, _DIMENSIONS), numpy.float32)
    vectors /= numpy.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    return vectors


def _rows(count: int, seed: int) -> Iterator[tuple[int, int, str, str, str, bytes, int]]:
    chance, vectors, prose = random.Random(f"rows {seed}"), numpy.random.default_rng([seed, 7]), Prose(seed)
    batch = _embeddings(vectors, 1000)
    for number in range(count):
        if number and number % 1000 == 0:
            batch = _embeddings(vectors, 1000)
        metadata = {"source": f"meshes/{chance.randrange(5000)}.obj", "page": chance.randrange(40), "language": "en"}
        yield (
            number + 1,
            chance.randrange(12),
            f"{chance.getrandbits(64):016x}",
            prose.text(120 + chance.randrange(70)),
            json.dumps(metadata),
            batch[number % 1000].tobytes(),
            1_800_000_000 + number,
        )

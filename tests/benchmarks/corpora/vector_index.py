"""A vector index of 100,000 x 384 as Chroma keeps it beside its SQLite file; then 1 % of the vectors change.

The layout is hnswlib's. Links are made up: near neighbours, and some of almost every row's change with the vectors.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy

_DIMENSIONS, _LINKS, _ROWS = 384, 32, 100_000
_ROW = numpy.dtype(
    [("count", "<u4"), ("links", "<u4", _LINKS), ("vector", "<f4", _DIMENSIONS), ("label", "<u8")], align=False
)
_AT_ONCE = 10_000
_CLUSTERS = 200
_RELINKED = 0.6

Rows = numpy.ndarray[Any, numpy.dtype[Any]]


def make(folder: Path, scale: float, seed: int) -> None:
    count = max(200, int(_ROWS * scale))
    chance = numpy.random.default_rng([seed, 31])
    middles = chance.standard_normal((_CLUSTERS, _DIMENSIONS), numpy.float32)
    with open(folder / "data_level0.bin", "wb") as file:
        for start in range(0, count, _AT_ONCE):
            rows = numpy.zeros(min(_AT_ONCE, count - start), _ROW)
            rows["vector"] = _vectors(chance, middles, len(rows))
            rows["label"] = numpy.arange(start + 1, start + 1 + len(rows))
            _link(rows, chance, count)
            file.write(rows.tobytes())
    (folder / "header.bin").write_bytes(_header(count))
    lengths = numpy.full(count, 1.0, "<f4") + chance.standard_normal(count, numpy.float32) * numpy.float32(1e-7)
    (folder / "length.bin").write_bytes(lengths.tobytes())


def change(folder: Path, scale: float, seed: int) -> None:
    """One vector in a hundred is another one, anywhere; one link of more than half of all rows leads elsewhere."""
    chance = numpy.random.default_rng([seed, 32])
    rows = numpy.memmap(folder / "data_level0.bin", _ROW, "r+")
    chosen = chance.choice(len(rows), len(rows) // 100, replace=False)
    middles = chance.standard_normal((_CLUSTERS, _DIMENSIONS), numpy.float32)
    rows["vector"][chosen] = _vectors(chance, middles, len(chosen))
    relinked = numpy.flatnonzero(chance.random(len(rows)) < _RELINKED)
    places = (chance.random(len(relinked)) * rows["count"][relinked]).astype(numpy.int64)
    rows["links"][relinked, places] = chance.choice(chosen, len(relinked))
    rows.flush()


def _vectors(chance: numpy.random.Generator, middles: Rows, count: int) -> Rows:
    made = middles[chance.integers(0, len(middles), count)] + chance.standard_normal(
        (count, _DIMENSIONS), numpy.float32
    )
    unit: Rows = made / numpy.sqrt((made * made).sum(axis=1, keepdims=True))
    return unit


def _link(rows: Rows, chance: numpy.random.Generator, count: int) -> None:
    links = chance.integers(0, count, (len(rows), _LINKS), dtype=numpy.uint32)
    rows["count"] = numpy.clip(chance.normal(18, 7, len(rows)), 1, _LINKS)
    rows["links"] = numpy.where(numpy.arange(_LINKS) < rows["count"][:, None], links, 0)


def _header(count: int) -> bytes:
    """Chroma's version, then what hnswlib's `saveIndex` writes before the rows."""
    vector = 4 + 4 * _LINKS
    label = vector + 4 * _DIMENSIONS
    sizes = struct.pack("<6Q", 0, count, count, label + 8, label, vector)
    return struct.pack("<i", 1) + sizes + struct.pack("<iI3QdQ", 4, 7, 16, _LINKS, 16, 0.36067376022224085, 100)

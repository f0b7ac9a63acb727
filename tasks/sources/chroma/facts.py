"""What is counted of a collection, wherever it is read: records, digests, and the true answers to a few queries."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from tasks.item import Facts
from tasks.sources.chroma.records import Batch, Collection, Records

if TYPE_CHECKING:
    from tasks.numbers import NDArray
    from tasks.numbers import numpy as np

QUERIES, NEAREST = 5, 5
_LINES = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
_EQUAL = 1e-6
"""Distances nearer than this part of their scale count as equal: cosine ones differ so much from copy to copy."""


class Counting:
    """Add every batch in the order of ids, then take the facts."""

    def __init__(self, about: Collection) -> None:
        self.golden: Golden | None = None
        self.records = 0
        self.about = about
        self._content, self._vectors = blake3(), blake3()

    @property
    def queries(self) -> int:
        """How many golden queries there are: `answers <label>` says how many of them a server's index answers well."""
        return len(self.golden.ids) if self.golden else 0

    def add(self, batch: Batch) -> None:
        from tasks.numbers import numpy as np

        if not batch.records:
            return
        for record in batch.records:
            self._content.update(line(record))
        self._vectors.update(np.ascontiguousarray(batch.vectors, "<f4").data.cast("B"))
        self.records += len(batch.records)
        if self.golden is None:
            self.golden = Golden(batch, self.about.distance)
        self.golden.add(batch)

    def facts(self) -> Facts:
        """For one collection: `collection <label>`, the same wherever it is read; and of a cosine collection, whose
        vectors come back from a server changed in their last bits, `exact vectors <label>`: only the same in copies
        of its files."""
        label, golden = self.about.label, self.golden
        facts: Facts = {
            "records": self.records,
            "dimension": self.about.dimension,
            "distance": self.about.distance,
            "metadata": self.about.metadata,
            "content_digest": self._content.hexdigest(),
            "nearest": golden.nearest() if golden else {},
        }
        bits = {"vectors_digest": self._vectors.hexdigest(), "distances": golden.distances() if golden else {}}
        if self.about.distance == "cosine":
            return {f"collection {label}": facts, f"exact vectors {label}": bits}
        return {f"collection {label}": facts | bits}


def count(records: Records) -> Counting:
    """Raises what reading the records does."""
    counting = Counting(records.about)
    for batch in records.batches():
        counting.add(batch)
    return counting


def line(record: tuple[Any, ...]) -> bytes:
    """A record in one line of JSON that is the same for the same record."""
    return _LINES.encode(record).encode("utf-8", "surrogatepass") + b"\n"


class Golden:
    """A few stored vectors, and what is nearest to each by looking at all: the right answers to queries."""

    def __init__(self, first: Batch, distance: str) -> None:
        """From the records that come first, those that their ids' digests choose."""
        chosen = sorted(range(len(first.records)), key=lambda at: blake3(line((first.records[at].id,))).digest())
        chosen = sorted(chosen[:QUERIES])
        self.ids = [first.records[at].id for at in chosen]
        self.vectors = first.vectors[chosen].astype("f8")
        self._distance = distance
        self._found: list[list[tuple[float, str]]] = [[] for _ in chosen]
        self._unit = [_EQUAL] * len(chosen)
        if distance != "cosine":
            sizes = [float(size) for size in (self.vectors**2).sum(1)]
            self._unit = [(max(size, 1e-30) if math.isfinite(size) else 1.0) * _EQUAL for size in sizes]

    def add(self, batch: Batch) -> None:
        from tasks.numbers import numpy as np

        units = np.rint(apart(self.vectors, batch.vectors.astype("f8"), self._distance) / np.array(self._unit)[:, None])
        for query, found in enumerate(self._found):
            # Stable, so that of equals those with the lower ids come first.
            nearest = np.argsort(units[query], kind="stable")[:NEAREST].tolist()
            found += [(float(units[query, at]), batch.records[at].id) for at in nearest]
            found.sort()
            del found[NEAREST:]

    def nearest(self) -> dict[str, list[str]]:
        return {name: [each for _, each in found] for name, found in zip(self.ids, self._found, strict=True)}

    def distances(self) -> dict[str, list[float | None]]:
        return {
            name: [_rounded(units * unit) for units, _ in found]
            for name, found, unit in zip(self.ids, self._found, self._unit, strict=True)
        }


def _rounded(distance: float) -> float | None:
    """None for what is no finite number: JSON has none, and NaN would not be the same as itself."""
    return float(f"{distance + 0.0:.6g}") if math.isfinite(distance) else None


def apart(queries: NDArray[np.float64], vectors: NDArray[np.float64], distance: str) -> NDArray[np.float64]:
    """How far each vector is from each query, as Chroma reckons it; NaN where one of them is no finite number."""
    from tasks.numbers import numpy as np

    with np.errstate(invalid="ignore"):
        return _apart(queries, vectors, distance)


def _apart(queries: NDArray[np.float64], vectors: NDArray[np.float64], distance: str) -> NDArray[np.float64]:
    from tasks.numbers import numpy as np

    # Not by `@`: its threads would spend ten times the processor's time on so few queries.
    products = np.einsum("qd,rd->qr", queries, vectors)
    if distance == "ip":
        return np.asarray(1.0 - products)
    if distance == "cosine":
        lengths = np.sqrt((queries**2).sum(1))[:, None] * np.sqrt((vectors**2).sum(1))[None, :]
        return np.asarray(1.0 - products / np.maximum(lengths, 1e-30))
    return np.asarray(np.maximum((queries**2).sum(1)[:, None] + (vectors**2).sum(1)[None, :] - 2 * products, 0.0))

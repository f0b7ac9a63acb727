"""Whether a server's index answers: a few stored vectors, and what it says is nearest to them."""

from __future__ import annotations

from itertools import pairwise

from tasks.sources.chroma.facts import NEAREST, Counting, apart
from tasks.sources.chroma.server import Faulty, ServerCollection

_NEAR = 1e-3
_GREATEST = 1e38


def answered(collection: ServerCollection, counting: Counting) -> int:
    """How many of the golden queries the index answers well: with as many records as there are, the nearest first, each
    as far away as its vector is. Which ones it finds is not judged: an index is approximate, by design. A vector that
    can't be asked for, as it holds no finite number, counts as answered well."""
    from tasks.numbers import numpy as np

    golden = counting.golden
    good = 0
    for vector in golden.vectors if golden else ():
        if not np.isfinite(vector).all():
            good += 1
            continue
        try:
            ids, distances, vectors = collection.query(vector, NEAREST)
        except Faulty:
            continue
        if len(ids) != min(NEAREST, counting.records) or len(set(ids)) != len(ids):
            continue
        scale = max(1.0, float(np.abs(vector).max()) ** 2)
        true = apart(vector[None, :], vectors, collection.about.distance)[0]
        # Of a vector that is beyond float32, or is at such a distance, neither is told by numbers.
        beyond = (np.isnan(distances) | np.isnan(true)) & ~(np.abs(true) < _GREATEST)
        close = beyond | (np.abs(distances - true) <= _NEAR * np.maximum(scale, np.abs(true)))
        ordered = not any(a > b + _NEAR * scale for a, b in pairwise(distances[~beyond].tolist()))
        good += ordered and bool(close.all())
    return good

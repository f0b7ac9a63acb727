"""Whether a server's index answers: a few stored vectors, and what it says is nearest to them."""

from __future__ import annotations

from itertools import pairwise

from tasks.sources.chroma.facts import NEAREST, Counting, apart
from tasks.sources.chroma.server import Faulty, ServerCollection

_NEAR = 1e-3


def answered(collection: ServerCollection, counting: Counting) -> int:
    """How many of the golden queries the index answers well: with as many records as there are, the nearest first, each
    as far away as its vector is. Which ones it finds is not judged: an index is approximate, by design."""
    from tasks.numbers import numpy as np

    golden = counting.golden
    good = 0
    for vector in golden.vectors if golden else ():
        try:
            ids, distances, vectors = collection.query(vector, NEAREST)
        except Faulty:
            continue
        if len(ids) != min(NEAREST, counting.records) or len(set(ids)) != len(ids):
            continue
        scale = max(1.0, float(np.abs(vector).max()) ** 2)
        true = apart(vector[None, :], vectors, collection.about.distance)[0]
        close = bool(np.all(np.abs(true - np.array(distances)) <= _NEAR * np.maximum(scale, np.abs(true))))
        good += close and all(a <= b + _NEAR * scale for a, b in pairwise(distances))
    return good

"""Where a collection says what its distance is, in each version of Chroma."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tasks.sources.chroma.facts import count
from tasks.sources.chroma.records import Batch, Collection, Record


@pytest.mark.parametrize(
    ("about", "distance"),
    [
        ({}, "l2"),
        ({"metadata": {"hnsw:space": "ip"}}, "ip"),
        # Chroma 0.5 and 0.6 write a configuration that they do not follow: their index goes by the metadata.
        ({"metadata": {"hnsw:space": "cosine"}, "configuration": {"hnsw_configuration": {"space": "l2"}}}, "cosine"),
        ({"configuration": {"hnsw_configuration": {"space": "cosine"}}}, "l2"),
        ({"metadata": {"hnsw:space": "ip"}, "configuration": {"hnsw": {"space": "cosine"}}}, "cosine"),
        ({"configuration": {"spann": {"space": "cosine"}}}, "cosine"),
    ],
)
def test_the_distance_is_found_where_that_version_keeps_it(about: dict[str, Any], distance: str) -> None:
    assert Collection("tenant", "database", "name", **about).distance == distance


class Given:
    """`Records` of one batch."""

    def __init__(self, about: Collection, vectors: list[list[float]]) -> None:
        self.about = about
        self._batch = Batch([Record(f"{at}", None, None, None) for at in range(len(vectors))], np.array(vectors, "<f4"))

    def batches(self) -> Iterator[Batch]:
        yield self._batch


@pytest.mark.parametrize("space", ["l2", "ip", "cosine"])
def test_what_is_counted_of_vectors_that_are_no_numbers_is_the_same_for_each_copy(space: str) -> None:
    """Versions up to 1.0 take them."""
    about = Collection("t", "d", "texts", 2, {"hnsw:space": space})
    vectors = [[1.0, 2.0], [3.0, 4.0], [math.nan, math.nan], [math.inf, math.inf], [3e38, 3e38]]
    first, second = (count(Given(about, vectors)).facts() for _ in range(2))
    assert json.loads(json.dumps(first, allow_nan=False)) == second

"""Where a collection says what its distance is, in each version of Chroma."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.sources.chroma.records import Collection


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

"""Databases that are odd, closed or changed meanwhile: what one of them is, costs neither the others nor the truth."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.errors import Unavailable
from tasks.sources.postgresql import catalogue
from tests.contracts.memory_items import Saved
from tests.postgres_fixtures import (  # noqa: F401 - fixtures
    postgres,
    postgres_programs,
    second_postgres,
    shared_postgres,
    source_of,
    target_of,
)
from tests.postgres_process import PostgresProcess


@pytest.mark.parametrize("kind", ["SEQUENCE", "VIEW"])
def test_what_is_dropped_while_it_is_looked_at_is_tried_again(
    kind: str,
    postgres: PostgresProcess,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No lock keeps it: who reads it by its number, or its name, finds nothing."""
    postgres.create("changing")
    postgres.run(*(f"CREATE VIEW view{number} AS SELECT 1" for number in range(300)), database="changing")
    postgres.run("CREATE SEQUENCE passing", database="changing")
    sequences = catalogue.sequences

    def late(*given: Any) -> Any:
        if kind == "SEQUENCE":
            postgres.run("DROP SEQUENCE passing", database="changing")
        found = sequences(*given)
        if kind == "VIEW":
            postgres.run(*(f"DROP VIEW view{number}" for number in range(300)), database="changing")
        return found

    monkeypatch.setattr(catalogue, "sequences", late)
    with pytest.raises(Unavailable, match=r"dropped meanwhile|could not open relation"):
        Saved(source_of(postgres, "changing").capture())

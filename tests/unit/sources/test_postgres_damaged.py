"""PostgreSQL snapshots of which something is damaged: what comes back all the same, and what stays as it was."""

from __future__ import annotations

import pytest

from tasks.errors import Damaged
from tasks.sources.postgresql import names
from tasks.sources.postgresql.filling import _failed
from tests.contracts.memory_items import Rotten, Saved
from tests.postgres_content import large_objects_of, rows_of
from tests.postgres_fixtures import (  # noqa: F401 - fixtures
    everything,
    postgres,
    postgres_programs,
    shared_postgres,
    source_of,
)
from tests.postgres_process import PostgresProcess
from tests.unit.sources.test_postgres_restoring import databases, restore, saved  # noqa: F401 - a fixture

PEOPLE = b"databases/small/tables/public/people.copy"


def test_damaged_rows_cost_their_table_and_what_relies_on_it_and_nothing_else(
    saved: Saved,  # noqa: F811
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    rotten = Rotten(saved, PEOPLE)
    with pytest.raises(Damaged) as raised:
        restore(postgres, rotten, into="new")
    said = str(raised.value)
    assert "all else was restored, but not the rows of" in said
    assert "people" in said
    assert "a block is rotten" in said
    assert "pets_owner_fkey" in said, "who relies on them is told"
    right = rows_of(postgres, "small")
    emptied = {table: () for table in right if "people" in table}
    assert {table: tuple(rows) for table, rows in rows_of(postgres, "new").items()} == {
        table: tuple(rows) for table, rows in right.items()
    } | emptied


def test_a_database_is_not_replaced_by_one_that_lacks_rows(saved: Saved, postgres: PostgresProcess) -> None:  # noqa: F811
    rows, before = rows_of(postgres, "small"), databases(postgres)
    with pytest.raises(Damaged, match=r"a block is rotten; `small` is what it was: all else comes back beside it"):
        restore(postgres, Rotten(saved, PEOPLE), overwrite=True)
    assert (rows_of(postgres, "small"), databases(postgres)) == (rows, before)


def test_one_table_that_is_damaged_leaves_nothing_half_made(saved: Saved, postgres: PostgresProcess) -> None:  # noqa: F811
    before = databases(postgres)
    with pytest.raises(Damaged, match="a block is rotten"):
        restore(postgres, Rotten(saved, PEOPLE), into="new", table="people")
    assert databases(postgres) == before


def test_large_objects_that_are_damaged_cost_nothing_else(
    postgres: PostgresProcess,  # noqa: F811
    everything: str,  # noqa: F811
) -> None:
    items = Saved(source_of(postgres, everything).capture())
    path = next(item.entry.path for item in items if item.entry.path.endswith(names.LARGE_OBJECTS))
    with pytest.raises(Damaged, match=r"but not large objects in .*a block is rotten"):
        restore(postgres, Rotten(items, path), into="the copy")
    assert rows_of(postgres, "the copy") == rows_of(postgres, everything)
    assert large_objects_of(postgres, "the copy") != large_objects_of(postgres, everything)


def test_what_a_failed_statement_quotes_is_not_told() -> None:
    lines = [
        "pg_restore: error: could not execute query: ERROR:  permission denied",
        "Command was: CREATE SUBSCRIPTION news CONNECTION 'host=there password=hush' PUBLICATION all_of_it;",
        "pg_restore: error: could not execute query: ERROR:  no room",
        "pg_restore: warning: errors ignored on restore: 2",
    ]
    assert _failed(lines) == ["CREATE SUBSCRIPTION news CONNECTION: ERROR:  permission denied", "ERROR:  no room"]

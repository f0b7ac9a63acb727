"""The contract of served sources, from one real PostgreSQL server into another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.sources.postgres import Postgres, PostgresTarget
from tests.contracts.postgres_served_contract import ServedContract
from tests.postgres_fixtures import (  # noqa: F401 - fixtures
    everything,
    postgres,
    postgres_programs,
    shared_postgres,
    source_of,
    target_of,
)
from tests.postgres_process import PostgresProcess, postgres_process


@pytest.fixture(scope="module")
def empty_server(postgres_programs: Path) -> Iterator[PostgresProcess]:  # noqa: F811
    with postgres_process(postgres_programs) as server:
        yield server


class TestPostgresServed(ServedContract):
    @pytest.fixture
    def source(self, postgres: PostgresProcess, everything: str) -> Postgres:  # noqa: F811
        return source_of(postgres, everything)

    @pytest.fixture
    def target(self, empty_server: PostgresProcess, everything: str) -> Iterator[PostgresTarget]:  # noqa: F811
        yield target_of(empty_server)
        empty_server.drop(everything)
        empty_server.run(*(f'DROP ROLE IF EXISTS "{name}"' for name in ("app", "readers", 'odd; ""role\'')))

    @pytest.fixture
    def damage_at(self, empty_server: PostgresProcess, everything: str) -> Callable[[], None]:  # noqa: F811
        return lambda: empty_server.run(
            "DELETE FROM orders WHERE id = (SELECT min(id) FROM orders)", database=everything
        )

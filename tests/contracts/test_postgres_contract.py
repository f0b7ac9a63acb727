"""The contract of sources, on databases of a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.sources.postgres import Postgres
from tests.contracts.source_contract import SourceContract
from tests.postgres_fixtures import (  # noqa: F401 - fixtures
    everything,
    postgres,
    postgres_programs,
    shared_postgres,
    source_of,
)
from tests.postgres_process import PostgresProcess


class PostgresContract(SourceContract):
    @pytest.fixture
    def database(self, postgres: PostgresProcess) -> str:  # noqa: F811
        raise NotImplementedError

    @pytest.fixture
    def source(self, postgres: PostgresProcess, database: str) -> Postgres:  # noqa: F811
        return source_of(postgres, database)

    @pytest.fixture
    def absent(self, postgres: PostgresProcess) -> Postgres:  # noqa: F811
        return source_of(postgres, "nowhere")


class TestEverything(PostgresContract):
    @pytest.fixture
    def database(self, everything: str) -> str:  # noqa: F811
        return everything

    @pytest.fixture
    def change(self, postgres: PostgresProcess, database: str) -> Callable[[], None]:  # noqa: F811
        return lambda: postgres.run("UPDATE keyless SET b = 'other' WHERE ctid = '(0,1)'", database=database)

    @pytest.fixture
    def damage(self) -> Callable[[Path], None]:
        def damage(copy: Path) -> None:
            (file,) = copy.glob("databases/*/tables/public/keyless.copy")
            file.write_bytes(file.read_bytes().replace(b"same", b"some", 1))

        return damage


class TestEmptyDatabase(PostgresContract):
    @pytest.fixture
    def database(self, postgres: PostgresProcess) -> str:  # noqa: F811
        postgres.create("empty")
        return "empty"

    @pytest.fixture
    def change(self, postgres: PostgresProcess) -> Callable[[], None]:  # noqa: F811
        return lambda: postgres.run("CREATE SEQUENCE s", database="empty")

    @pytest.fixture
    def damage(self) -> Callable[[Path], None]:
        def damage(copy: Path) -> None:
            (copy / "databases/empty/schema.dump").write_bytes(b"")

        return damage

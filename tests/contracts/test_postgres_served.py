"""The contract of sources that live in a server, from one PostgreSQL server into another."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.sources.postgres import Postgres, PostgresTarget
from tests.contracts.served_source_contract import ServedSourceContract
from tests.postgres_content import large_objects_of, rows_of, schema_of
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


@pytest.fixture
def nowhere() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"postgresql://postgres@127.0.0.1:{free.getsockname()[1]}/postgres"


class TestPostgresServed(ServedSourceContract):
    @pytest.fixture
    def source(self, postgres: PostgresProcess, everything: str) -> Postgres:  # noqa: F811
        return source_of(postgres, everything)

    @pytest.fixture
    def change(self, postgres: PostgresProcess, everything: str) -> Callable[[], None]:  # noqa: F811
        return lambda: postgres.run("UPDATE keyless SET b = 'other' WHERE ctid = '(0,1)'", database=everything)

    @pytest.fixture
    def target(self, empty_server: PostgresProcess, everything: str) -> Iterator[PostgresTarget]:  # noqa: F811
        yield target_of(empty_server)
        empty_server.drop(everything)
        empty_server.run(*(f'DROP ROLE IF EXISTS "{name}"' for name in ("app", "readers", 'odd; ""role\'')))

    @pytest.fixture
    def damage(self, empty_server: PostgresProcess, everything: str) -> Callable[[], None]:  # noqa: F811
        return lambda: empty_server.run("DELETE FROM orders WHERE id = 1", database=everything)

    @pytest.fixture
    def holding(self, empty_server: PostgresProcess, everything: str) -> Callable[[], object]:  # noqa: F811
        return lambda: [look(empty_server, everything) for look in (schema_of, rows_of, large_objects_of)]

    @pytest.fixture
    def absent(self, nowhere: str, postgres: PostgresProcess) -> Postgres:  # noqa: F811
        return source_of(postgres, url=nowhere)

    @pytest.fixture
    def absent_target(self, nowhere: str, postgres: PostgresProcess) -> PostgresTarget:  # noqa: F811
        return target_of(postgres, url=nowhere)

    @pytest.fixture
    def locked(
        self,
        postgres: PostgresProcess,  # noqa: F811
        monkeypatch: pytest.MonkeyPatch,
    ) -> tuple[Postgres, str]:
        secret = "wrong-horse-battery"
        monkeypatch.setenv("WRONG_PASSWORD", secret)
        return source_of(postgres, url=postgres.tcp_url(), password="env:WRONG_PASSWORD"), secret

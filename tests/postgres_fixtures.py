"""Fixtures of every test that needs a PostgreSQL server; a conftest.py, or the test itself, imports them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.sources.postgres import Postgres, PostgresSettings, PostgresTarget
from tests import postgres_sample
from tests.postgres_process import PostgresProcess, postgres_process, programs

FILLED = "filled once"
"""A database of everything that nothing connects to: others are made of it."""


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """The folder of a server's programs, which are not on PATH on Debian."""
    found = programs()
    if found is None:
        missing = "there are no `initdb` and `postgres` (Debian: apt-get install postgresql)"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{missing}; with CI=true nothing may be skipped", pytrace=False)
        pytest.skip(missing)
    return found


@pytest.fixture(scope="session")
def shared_postgres(postgres_programs: Path) -> Iterator[PostgresProcess]:
    """One server for all tests that leave it running, with the database `FILLED`."""
    with postgres_process(postgres_programs) as server:
        postgres_sample.fill(server, FILLED)
        yield server


@pytest.fixture
def postgres(shared_postgres: PostgresProcess) -> Iterator[PostgresProcess]:
    """That server, without whatever databases the test makes."""
    before = {name for (name,) in shared_postgres.rows("SELECT datname FROM pg_database")}
    yield shared_postgres
    for (name,) in shared_postgres.rows("SELECT datname FROM pg_database"):
        if name not in before:
            shared_postgres.drop(name)


@pytest.fixture
def everything(postgres: PostgresProcess) -> str:
    """The name of a database of everything."""
    name = postgres_sample.DATABASE
    quoted = '"' + name.replace('"', '""') + '"'
    postgres.run(f'CREATE DATABASE {quoted} TEMPLATE "{FILLED}"', *postgres_sample.properties(name))
    return name


@pytest.fixture
def second_postgres(postgres_programs: Path) -> Iterator[PostgresProcess]:
    """Another server, with nothing in it."""
    with postgres_process(postgres_programs) as server:
        yield server


def source_of(server: PostgresProcess, *databases: str, **options: object) -> Postgres:
    settings = {"kind": "postgres", "url": server.url(), "databases": databases, **options}
    return Postgres("pg", PostgresSettings.model_validate(settings))


def target_of(server: PostgresProcess, **options: object) -> PostgresTarget:
    return PostgresTarget.model_validate({"url": server.url(), **options})

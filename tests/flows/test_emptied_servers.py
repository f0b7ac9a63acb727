"""A server that lost its data, as one whose volume is not mounted: proven to be nothing, it makes room for nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.repository import Repository, Snapshot
from tasks.sources.source import Source
from tests.chroma_process import chroma
from tests.contracts.test_chroma_folder_contract import source_of as chroma_of
from tests.contracts.test_served_source_contract import source_of as redis_of
from tests.postgres_fixtures import postgres, postgres_programs, shared_postgres  # noqa: F401 - fixtures
from tests.postgres_fixtures import source_of as postgres_of
from tests.postgres_process import PostgresProcess
from tests.redis_process import redis_process
from tests.repositories import about
from tests.repository_fixtures import fast_path, repository  # noqa: F401 - fixtures


def night(repository: Repository, source: Source, number: int, *allowed: str) -> Snapshot:  # noqa: F811
    told = replace(about(number), allow_incomplete=allowed)
    return repository.save(source.capture(), told, repository.destination)


@pytest.mark.needs("redis-server")
def test_a_redis_that_lost_its_keys_is_incomplete_until_that_is_allowed(repository: Repository) -> None:  # noqa: F811
    with redis_process("--appendonly", "no") as server, server.client() as client:
        source = redis_of(server)
        client.set("lasting", 1)
        client.set("passing", 1, px=600_000)
        full = night(repository, source, 0)
        assert (full.complete, full.facts["held"]) == (True, 1)
        client.delete("lasting")
        assert night(repository, source, 1).complete, "a key is there still, and when all expire, none was lost"
        client.set("lasting", 1)
        full = night(repository, source, 2)
        client.flushall()
        for number in (3, 4):
            (flaw,) = night(repository, source, number).flaws
            assert (flaw.path, flaw.what, flaw.allowed) == ("docs", "emptied", False)
            assert f"`{full.id}` had 1: give its server its data again" in flaw.why
        assert night(repository, source, 5, "docs").complete
        assert night(repository, source, 6).complete, "nothing was lost since the last complete one"


def test_a_postgres_that_lost_its_rows_is_incomplete(
    repository: Repository,  # noqa: F811
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    postgres.create("shop")
    postgres.run("CREATE TABLE people (name text)", "INSERT INTO people VALUES ('a'), ('b')", database="shop")
    source = postgres_of(postgres, "shop", roles=False)
    full = night(repository, source, 0)
    assert (full.complete, full.facts["held"]) == (True, 2)
    postgres.run("TRUNCATE people", database="shop")
    assert [flaw.what for flaw in night(repository, source, 1).flaws] == ["emptied"]
    postgres.run("SELECT lo_create(7)", database="shop")
    assert night(repository, source, 2).complete


def test_a_chroma_that_lost_its_records_is_incomplete(repository: Repository, tmp_path: Path) -> None:  # noqa: F811
    store = tmp_path / "store"
    chroma("fill", store)
    source = chroma_of(store, tmp_path)
    full = night(repository, source, 0)
    assert full.complete
    assert full.facts["held"] == full.facts["records"] > 0
    shutil.rmtree(store)
    chroma("dump", store)
    assert [flaw.what for flaw in night(repository, source, 1).flaws] == ["emptied"]

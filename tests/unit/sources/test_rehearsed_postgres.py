"""Drills of odd PostgreSQL servers: what is whole is never called otherwise, and no other server is touched."""

from __future__ import annotations

import pytest

from tasks.drill import differences
from tasks.scratch import scratch_folder, usual
from tasks.sources.postgres import Postgres
from tasks.sources.postgresql.scratch_server import _SETTINGS
from tests.contracts.memory_items import Saved
from tests.postgres_fixtures import postgres, postgres_programs, second_postgres, shared_postgres, source_of
from tests.postgres_process import PostgresProcess

__all__ = ["postgres", "postgres_programs", "second_postgres", "shared_postgres"]


def missed(source: Postgres, saved: Saved) -> list[str]:
    """What a drill says that finds the same."""
    with scratch_folder(usual()) as scratch:
        found = source.rehearse(saved, saved.facts, scratch)
    assert differences(saved.facts, found.looks) == []
    assert found.looks[0]["tables"].keys() == saved.facts["tables"].keys()
    return found.missed


def test_variables_that_mean_another_server_do_not_lead_there(
    postgres: PostgresProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.create("one")
    source = source_of(postgres, "one")
    saved = Saved(source.capture())
    monkeypatch.setattr("tasks.sources.postgresql.scratch_server._PORT", str(postgres.port))
    monkeypatch.setitem(_SETTINGS, "port", str(postgres.port))
    monkeypatch.setattr("tasks.sources.postgresql.scratch_server._START_SECONDS", 10)
    for name, value in (
        ("PGHOSTADDR", "127.0.0.1"),
        ("PGREQUIREAUTH", "scram-sha-256"),
        ("PGTARGETSESSIONATTRS", "read-only"),
        ("PGCHANNELBINDING", "require"),
    ):
        monkeypatch.setenv(name, value)
    assert missed(source, saved) == []

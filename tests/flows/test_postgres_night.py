"""A night of a PostgreSQL source with real workers: the server is away at first, and nobody learns its password."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.chosen import chosen_snapshot
from tasks.sources.postgres import Postgres
from tasks.sources.source import Restoring
from tests import postgres_sample
from tests.contracts.source_contract import agree
from tests.flows import kinds
from tests.flows.house import House
from tests.postgres_content import rows_of, schema_of
from tests.postgres_fixtures import postgres_programs, second_postgres, target_of  # noqa: F401 - fixtures
from tests.postgres_process import PASSWORD, PostgresProcess, postgres_process


@contextmanager
def watching_arguments() -> Iterator[set[str]]:
    """The arguments of all processes that are seen meanwhile."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.03):
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def test_a_night_waits_for_its_server_and_brings_everything_into_another(
    house: House,
    postgres_programs: Path,  # noqa: F811
    second_postgres: PostgresProcess,  # noqa: F811
) -> None:
    shop = postgres_sample.DATABASE
    with postgres_process(postgres_programs) as server:
        postgres_sample.fill(server)
        schema, rows = schema_of(server, shop), rows_of(server, shop)
        server.stop()
        options = {"kind": "postgres", "url": server.tcp_url(), "password": "env:POSTGRES_OF_THE_TEST"}
        house.configure({"pg": options}, {"here": {"kind": "local", "path": house.folder / "store"}}, {"nightly": {}})
        house.worker(POSTGRES_OF_THE_TEST=PASSWORD)
        with watching_arguments() as seen:
            run = house.start("nightly")
            house.wait_for(lambda: any(line.get("event") == "waiting" for line in house.log()), "the wait")
            server.start()
            report = house.report(run)
    assert report["state"] == "done", report
    assert report["recovery_point"]["sources"]["pg"]["proven"] == ["here"]
    (waiting, *_) = [line for line in house.log() if line.get("event") == "waiting"]
    assert "Connection refused" in waiting["error"]
    assert any("pg_dump --format" in line for line in seen)
    assert not [line for line in seen if PASSWORD in line]
    secret = PASSWORD.encode()
    assert not [path for path in house.folder.rglob("*") if path.is_file() and secret in path.read_bytes()]
    with kinds.registered():
        source = house.installation.source("pg")
        assert isinstance(source, Postgres)
        repository = house.installation.repository("pg", "here", reader=True)
        snapshot = chosen_snapshot(repository, "", "here")
        items = repository.read(snapshot)
        assert source.restore_into(items, items, target_of(second_postgres), Restoring()) == []
    assert schema_of(second_postgres, shop) == schema
    assert rows_of(second_postgres, shop) == rows
    assert agree(source.examine_at(target_of(second_postgres)), snapshot.facts)

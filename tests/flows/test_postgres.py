"""PostgreSQL from end to end: captured into a real repository while it is written to, lost, put back, and compared."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tasks.errors import Unavailable
from tasks.item import Item, Reading, Stream
from tasks.repository import Repository
from tasks.sources.postgres import Postgres
from tasks.sources.postgresql import moment
from tasks.sources.postgresql.capture import ServerCapture
from tasks.sources.source import Restoring
from tests import postgres_sample
from tests.contracts.memory_items import Saved
from tests.contracts.source_contract import agree
from tests.postgres_content import large_objects_of, roles_of, rows_of, schema_of, sequences_of
from tests.postgres_fixtures import (  # noqa: F401 - fixtures
    postgres,
    postgres_programs,
    second_postgres,
    shared_postgres,
    source_of,
    target_of,
)
from tests.postgres_process import PostgresProcess, postgres_process
from tests.repositories import about
from tests.repository_fixtures import fast_path, repository  # noqa: F401 - fixtures

TOKENS = (
    "CREATE TABLE a_left (id integer PRIMARY KEY, note text)",
    "CREATE TABLE z_right (id integer PRIMARY KEY, note text)",
    "INSERT INTO a_left SELECT i, repeat('left', 30) FROM generate_series(1, 20000) i",
    "INSERT INTO z_right SELECT i, repeat('right', 30) FROM generate_series(1, 20000) i",
    "INSERT INTO a_left VALUES (0, 'the token')",
)


@contextmanager
def writing(server: PostgresProcess, database: str) -> Iterator[list[int]]:
    """Someone moves the token from one table to the other and back, each time in one transaction, as fast as they can.
    Yields how often they did so far."""
    moves, over = [0], threading.Event()

    def move(connection: psycopg.Connection[Any], one: str, other: str) -> None:
        with connection.transaction():
            connection.execute(f"INSERT INTO {other} SELECT * FROM {one} WHERE id = 0".encode())  # noqa: S608 - constants
            connection.execute(f"DELETE FROM {one} WHERE id = 0".encode())  # noqa: S608 - constants
        moves[0] += 1

    def write() -> None:
        with server.connect(database) as connection:
            while not over.is_set():
                move(connection, "a_left", "z_right")
                move(connection, "z_right", "a_left")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield moves
    finally:
        over.set()
        writer.join()


def wait_until(true: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.02)


def test_everything_comes_back_exactly_after_its_server_is_lost(
    postgres_programs: Path,  # noqa: F811
    second_postgres: PostgresProcess,  # noqa: F811
    repository: Repository,  # noqa: F811
) -> None:
    shop, tokens = postgres_sample.DATABASE, ("a_left", "z_right")
    with postgres_process(postgres_programs) as lost:
        postgres_sample.fill(lost)
        lost.run(*TOKENS, database=shop)
        lost.run("CREATE TABLE beside (id integer)", "INSERT INTO beside VALUES (7)", database="postgres")
        roles, schema = roles_of(lost), schema_of(lost, shop)
        rows, sequences = rows_of(lost, shop, but=tokens), sequences_of(lost, shop)
        objects = large_objects_of(lost, shop)
        source = source_of(lost)
        with writing(lost, shop) as moves:
            wait_until(lambda: moves[0] > 0, "the writer")
            snapshot = repository.save(source.capture(), about(0), repository.destination)
            assert moves[0] > 2
    assert snapshot.complete
    items = repository.read(snapshot)
    missed = source.restore_into(items, items, target_of(second_postgres), Restoring())
    assert missed == []
    assert roles_of(second_postgres) == roles
    assert schema_of(second_postgres, shop) == schema
    assert rows_of(second_postgres, shop, but=tokens) == rows
    assert sequences_of(second_postgres, shop) == sequences
    assert large_objects_of(second_postgres, shop) == objects
    assert second_postgres.rows("SELECT id FROM beside") == [(7,)]
    count = "SELECT (SELECT count(*) FROM a_left WHERE id = 0) + (SELECT count(*) FROM z_right WHERE id = 0)"
    assert second_postgres.rows(count, shop) == [(1,)]
    assert agree(source.examine_at(target_of(second_postgres)), snapshot.facts)


def test_what_moves_between_tables_is_in_every_snapshot_exactly_once(postgres: PostgresProcess) -> None:  # noqa: F811
    postgres.create("moving")
    postgres.run(*TOKENS, database="moving")
    source = source_of(postgres, "moving", roles=False)
    with writing(postgres, "moving") as moves:
        for _ in range(8):
            before = moves[0]
            saved = Saved(source.capture())
            assert moves[0] > before, "nothing moved meanwhile: this has shown nothing"
            tables = [item.content for item in saved if item.entry.path.endswith(b".copy")]
            assert [table.count(b"0\tthe token\n") for table in tables] in ([0, 1], [1, 0])
            assert saved.facts["tables"]["moving"]["rows"] == 40_001


class At:
    """A capture in the middle of which something happens: when the first 4 MB of the item's rows were read."""

    def __init__(self, capture: ServerCapture, path: bytes, happens: Callable[[], None]) -> None:
        self._capture, self._path, self._happens = capture, path, happens
        self.stored, self.flaws, self.facts = capture.stored, capture.flaws, capture.facts

    def __iter__(self) -> Iterator[Item]:
        for item in self._capture:
            if item.entry.path == self._path and item.open:
                yield item._replace(open=self._opened(item.open))
            else:
                yield item

    def _opened(self, opened: Callable[[], Stream]) -> Callable[[], Stream]:
        return lambda: _Interrupted(opened(), self._happens)


class _Interrupted:
    def __init__(self, stream: Stream, happens: Callable[[], None]) -> None:
        self._stream, self._left, self._happens = stream, 4 << 20, happens

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._stream.readinto(buffer)
        if 0 < self._left <= count:
            self._happens()
        self._left -= count
        return count

    def close(self) -> Reading:
        return self._stream.close()


BIG = b"databases/big/tables/public/big.copy"


@pytest.fixture
def big(postgres: PostgresProcess) -> Postgres:  # noqa: F811
    """A source of one table of 24 MB: more than all pipes and buffers hold."""
    postgres.create("big")
    filler = "INSERT INTO big SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 25000) i"
    postgres.run("CREATE TABLE big (id integer PRIMARY KEY, t text)", filler, database="big")
    return source_of(postgres, "big", give_way="1s", lock_timeout="1s")


def terminate(server: PostgresProcess) -> None:
    server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'big'")


def kill_and_start(server: PostgresProcess) -> None:
    server.kill()
    server.start()


def stop_and_start(server: PostgresProcess) -> None:
    server.stop()
    server.start()


def kill_the_readers(server: PostgresProcess) -> None:
    """As a machine does that runs out of memory."""
    own = f"/proc/{os.getpid()}/task"
    children = {pid for task in os.listdir(own) for pid in Path(own, task, "children").read_text().split()}
    readers = [pid for pid in children if Path("/proc", pid, "comm").read_text().strip() == "psql"]
    assert readers
    for pid in readers:
        os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize("happens", [terminate, kill_and_start, stop_and_start, kill_the_readers])
def test_a_capture_that_loses_its_server_is_unavailable_and_leaves_no_snapshot(
    happens: Callable[[PostgresProcess], None],
    big: Postgres,
    postgres: PostgresProcess,  # noqa: F811
    repository: Repository,  # noqa: F811
) -> None:
    capture = At(big.capture(), BIG, lambda: happens(postgres))
    with pytest.raises(Unavailable) as raised:
        repository.save(capture, about(0), repository.destination)
    assert "\n" not in str(raised.value)
    assert repository.snapshot_ids() == []
    snapshot = repository.save(big.capture(), about(1), repository.destination)
    assert snapshot.facts["tables"]["big"]["rows"] == 25_000


@pytest.mark.parametrize("happens", [terminate, kill_and_start])
def test_large_objects_that_are_cut_off_are_unavailable_and_no_smaller_archive(
    happens: Callable[[PostgresProcess], None],
    postgres: PostgresProcess,  # noqa: F811
    repository: Repository,  # noqa: F811
) -> None:
    postgres.create("big")
    postgres.run(
        *(f"SELECT lo_from_bytea({at}, convert_to(repeat(md5('{at}'), 60000), 'UTF8'))" for at in range(900, 912)),
        database="big",
    )
    source = source_of(postgres, "big", roles=False)
    capture = At(source.capture(), b"databases/big/large-objects.dump", lambda: happens(postgres))
    with pytest.raises(Unavailable) as raised:
        repository.save(capture, about(0), repository.destination)
    assert "\n" not in str(raised.value)
    assert repository.snapshot_ids() == []


def test_a_migration_waits_no_longer_than_it_may_and_the_capture_gives_way(
    big: Postgres,
    postgres: PostgresProcess,  # noqa: F811
    repository: Repository,  # noqa: F811
) -> None:
    waited: list[float] = []

    def migrate() -> None:
        began = time.monotonic()
        postgres.run("ALTER TABLE big ADD COLUMN more integer", database="big")
        waited.append(time.monotonic() - began)

    migration = threading.Thread(target=migrate)

    def happens() -> None:
        """The engine is busy for longer than the migration is ready to wait."""
        migration.start()
        migration.join(10)

    with pytest.raises(Unavailable, match=r"gave way .* table `big`, such as a migration"):
        repository.save(At(big.capture(), BIG, happens), about(0), repository.destination)
    migration.join()
    assert 1.0 <= waited[0] < 5.0
    assert repository.snapshot_ids() == []
    snapshot = repository.save(big.capture(), about(1), repository.destination)
    assert snapshot.facts["objects"]["big"]["columns"] == 3


def test_a_server_that_hangs_is_given_up(
    big: Postgres,
    postgres: PostgresProcess,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All its processes stand still, and no connection is closed."""
    monkeypatch.setattr(moment, "SILENCE", 1.5)
    try:
        with pytest.raises(Unavailable, match=r"the server has not answered for [2-5] s"):
            Saved(At(big.capture(), BIG, postgres.freeze))
    finally:
        postgres.thaw()
    assert Saved(big.capture()).facts["tables"]["big"]["rows"] == 25_000


def test_a_database_that_is_dropped_before_its_turn_is_a_flaw_and_stops_no_other(
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    postgres.create("early")
    postgres.create("late")
    capture = source_of(postgres, "early", "late").capture()
    postgres.drop("early")
    saved = Saved(capture)
    assert [(flaw.path, flaw.what) for flaw in saved.flaws] == [(b"databases/early", "vanished")]
    assert list(saved.facts["tables"]) == ["late"]


def test_a_capture_does_not_queue_behind_a_migration(big: Postgres, postgres: PostgresProcess) -> None:  # noqa: F811
    with postgres.connect("big") as migration:
        migration.execute("BEGIN")
        migration.execute("LOCK TABLE big IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        with pytest.raises(Unavailable, match="lock timeout"):
            Saved(big.capture())
        assert 1.0 <= time.monotonic() - began < 5.0


def test_the_tables_of_a_moment_can_be_neither_emptied_nor_changed_in_it(
    big: Postgres,
    postgres: PostgresProcess,  # noqa: F811
) -> None:
    """TRUNCATE does not care for snapshots: only the lock keeps the rows there."""
    failed: list[str] = []

    def happens() -> None:
        with postgres.connect("big") as connection:
            connection.execute("SET lock_timeout = '300ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable) as raised:
                connection.execute("TRUNCATE big")
            failed.append(str(raised.value))

    saved = Saved(At(big.capture(), BIG, happens))
    assert failed
    assert saved.facts["tables"]["big"]["rows"] == 25_000

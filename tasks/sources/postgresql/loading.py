"""Rows on their way back: each table by one COPY, several tables at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from threading import Event
from typing import TYPE_CHECKING, Any

from tasks.errors import Damaged
from tasks.item import Stored, StoredItems
from tasks.sources.postgresql.catalogue import Table
from tasks.sources.postgresql.server import Server

if TYPE_CHECKING:
    import psycopg

_PIECE = 1 << 18


class Stopped(Exception):
    """Another table failed: there is no point in going on with this one."""


def load_tables(
    server: Server,
    database: str,
    items: StoredItems,
    wanted: Iterable[tuple[Table, Stored]],
    *,
    encoding: str,
    jobs: int,
    lose: Callable[[Table, Damaged], None],
) -> None:
    """Into tables that are empty. Raises what the first that fails raises; the others are stopped then. `lose` is told
    of a table whose rows are damaged, which is left empty; or raises, where all end with it."""
    left = sorted(wanted, key=lambda pair: pair[1].entry.size)
    stop = Event()

    def work() -> None:
        with closing(server.connect(database)) as connection:
            while not stop.is_set():
                try:
                    table, item = left.pop()
                except IndexError:
                    return
                with server.explained(f"database `{database}`: can't load {table.full_name}"):
                    try:
                        with connection.transaction():
                            load_table(connection, items, item, table.load(encoding), stopped=stop.is_set)
                    except Damaged as error:
                        lose(table, error)

    with ThreadPoolExecutor(max(1, min(jobs, len(left))), thread_name_prefix="loading") as pool:
        running = [pool.submit(work) for _ in range(max(1, min(jobs, len(left))))] if left else []
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
    failures = [error for each in running if (error := each.exception())]
    for error in sorted(failures, key=lambda error: isinstance(error, Stopped)):
        raise error


def load_table(
    connection: psycopg.Connection[Any],
    items: StoredItems,
    item: Stored,
    statement: str,
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Raises `Damaged` where the server took another number of rows than were stored."""
    stream, buffer, rows = items.open(item), memoryview(bytearray(_PIECE)), 0
    try:
        with connection.cursor() as cursor:
            with cursor.copy(statement.encode()) as copy:
                while count := stream.readinto(buffer):
                    if stopped():
                        raise Stopped
                    piece = bytes(buffer[:count])
                    rows += piece.count(b"\n")
                    copy.write(piece)
            if cursor.rowcount != rows:
                raise Damaged(f"{rows} rows were stored, and the server took {cursor.rowcount}: {statement}")
    finally:
        stream.close()

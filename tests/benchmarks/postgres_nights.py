"""PostgreSQL: the time of a capture beside `pg_dump -Fc`, and what the second night stores.

    .venv/bin/python -m tests.benchmarks.postgres_nights --megabytes 1000 --rounds 3

Starts a server of its own. Ours is the whole way into a repository on the same disk, with counts and digests of every
table; pg_dump writes one file. Rounds are interleaved, so that ratios mean something on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.postgres_fixtures import source_of
from tests.postgres_process import PostgresProcess, postgres_process, programs
from tests.repositories import about, create, local

DATABASE = "shop"
_TABLES = """
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer integer NOT NULL, placed timestamptz NOT NULL,
    amount numeric(12, 2) NOT NULL, state text NOT NULL, note text);
CREATE TABLE lines (
    order_id bigint, line smallint, product integer NOT NULL, quantity integer NOT NULL, price numeric(10, 2) NOT NULL,
    PRIMARY KEY (order_id, line));
CREATE TABLE documents (id bigint PRIMARY KEY, changed timestamptz NOT NULL, body jsonb NOT NULL);
CREATE TABLE customers (id integer PRIMARY KEY, name text NOT NULL, mail text UNIQUE, about text);
"""
_ROWS = """
INSERT INTO customers SELECT i, 'Customer ' || md5(i::text), md5('m' || i) || '@example.com', repeat(md5('a' || i), 4)
    FROM generate_series({customers_from}, {customers_to}) i;
INSERT INTO orders (customer, placed, amount, state, note)
    SELECT 1 + (random() * {customers_to})::integer, timestamptz '2026-01-01' + i * interval '17 s',
        (random() * 1000)::numeric(12, 2), (ARRAY['new', 'paid', 'sent', 'done'])[1 + i % 4],
        'deliver to ' || md5(i::text) || ' and leave it at the door of ' || md5((i * 7)::text)
    FROM generate_series({orders_from}, {orders_to}) i;
INSERT INTO lines SELECT i / 4, i % 4, (random() * 50000)::integer, 1 + i % 9, (random() * 100)::numeric(10, 2)
    FROM generate_series(4 * {orders_from}::bigint, 4 * {orders_to}::bigint + 3) i;
INSERT INTO documents SELECT i, timestamptz '2026-01-01' + i * interval '60 s', jsonb_build_object(
        'title', md5(i::text), 'tags', ARRAY[md5((i * 3)::text), md5((i * 5)::text)],
        'text', repeat(md5((i * 11)::text), 12))
    FROM generate_series({orders_from} / 4, {orders_to} / 4) i
    WHERE NOT EXISTS (SELECT FROM documents d WHERE d.id = i);
"""
_CHANGE = """
UPDATE orders SET state = 'returned', amount = amount + 1 WHERE id > {orders_to} * 0.99;
UPDATE lines SET quantity = quantity + 1 WHERE order_id > {orders_to} * 0.99;
UPDATE documents SET body = body || '{{"read": true}}' WHERE id > {orders_to} / 4 * 0.99;
UPDATE customers SET about = about || ' again' WHERE id > {customers_to} * 0.99;
"""
_ORDERS_A_MEGABYTE = 1300


@dataclass(frozen=True, slots=True)
class Night:
    """One round: seconds of each way, and bytes."""

    dump_seconds: float
    dump_bytes: int
    fast_seconds: float
    first_seconds: float
    first_bytes: float
    second_seconds: float
    second_bytes: float
    content_bytes: float

    @property
    def time_ratio(self) -> float:
        """Of the first capture to `pg_dump -Fc`."""
        return self.first_seconds / self.dump_seconds

    @property
    def second_ratio(self) -> float:
        """Of what the second night stores to what the first did."""
        return self.second_bytes / self.first_bytes


def fill(server: PostgresProcess, megabytes: int) -> dict[str, int]:
    numbers = {"orders_from": 1, "orders_to": megabytes * _ORDERS_A_MEGABYTE, "customers_from": 1}
    numbers["customers_to"] = max(100, numbers["orders_to"] // 10)
    server.create(DATABASE)
    with server.connect(DATABASE) as connection:
        connection.execute(_TABLES.encode())
        connection.execute(_ROWS.format(**numbers).encode())
        connection.execute("VACUUM ANALYZE")
    return numbers


def change(server: PostgresProcess, numbers: dict[str, int]) -> dict[str, int]:
    """A day: the newest hundredth of the rows is updated, and another hundredth comes."""
    more = dict(numbers)
    more["orders_from"], more["orders_to"] = numbers["orders_to"] + 1, int(numbers["orders_to"] * 1.01)
    more["customers_from"], more["customers_to"] = numbers["customers_to"] + 1, int(numbers["customers_to"] * 1.01) + 1
    with server.connect(DATABASE) as connection:
        connection.execute(_CHANGE.format(**numbers).encode())
        connection.execute(_ROWS.format(**more).encode())
        connection.execute("VACUUM ANALYZE")
    return more


def run(server: PostgresProcess, scratch: Path, numbers: dict[str, int]) -> tuple[Night, dict[str, int]]:
    """Both ways, of one state; then a day, and our second night."""
    dumped = scratch / "dump"
    dump_seconds = _timed(lambda: _dump(server, dumped, "--format=custom"))
    dump_bytes = dumped.stat().st_size
    fast_seconds = _timed(lambda: _dump(server, dumped, "--format=custom", "--compress=0"))
    dumped.unlink()
    repository = create(local(scratch / "repository"))
    source = source_of(server, DATABASE)

    def save(night: int) -> dict[str, float]:
        snapshot = repository.save(source.capture(), about(night), repository.destination)
        tables = snapshot.facts["tables"][DATABASE]["named"]
        if not (snapshot.complete and all(table["rows"] and table["digest"] for table in tables.values())):
            raise AssertionError("a capture without counts and digests is none")
        return snapshot.figures

    first = save(0)
    numbers = change(server, numbers)
    second = save(1)
    shutil.rmtree(scratch / "repository")
    night = Night(
        dump_seconds,
        dump_bytes,
        fast_seconds,
        first["seconds"],
        first["stored_bytes"],
        second["seconds"],
        second["stored_bytes"],
        first["content_bytes"],
    )
    return night, numbers


def table(nights: list[Night]) -> str:
    lines = [
        "| | seconds | against `pg_dump -Fc` | MB |",
        "|---|---:|---:|---:|",
    ]
    rows: list[tuple[str, Callable[[Night], float], Callable[[Night], float]]] = [
        ("`pg_dump -Fc`", lambda night: night.dump_seconds, lambda night: night.dump_bytes),
        ("`pg_dump -Fc -Z0`", lambda night: night.fast_seconds, lambda night: night.content_bytes),
        ("ours, first night", lambda night: night.first_seconds, lambda night: night.first_bytes),
        ("ours, second night", lambda night: night.second_seconds, lambda night: night.second_bytes),
    ]
    for name, seconds, size in rows:
        ratio = median(seconds(night) / night.dump_seconds for night in nights)
        took = median(map(seconds, nights))
        lines.append(f"| {name} | {took:.1f} | {ratio:.2f} | {median(map(size, nights)) / 1e6:.1f} |")
    lines.append("")
    time_ratio, second = median(each.time_ratio for each in nights), median(each.second_ratio for each in nights)
    lines.append(
        f"first night / pg_dump -Fc: {time_ratio:.2f} (bar 0.40); second night / first: {second:.1%} (bar 5 %)"
    )
    return "\n".join(lines)


def _dump(server: PostgresProcess, into: Path, *options: str) -> None:
    environment = {**os.environ, "PGHOST": str(server.folder), "PGPORT": str(server.port), "PGUSER": "postgres"}
    command = [str(server.bin_folder / "pg_dump"), f"--file={into}", *options]
    subprocess.run(command, env={**environment, "PGDATABASE": DATABASE}, check=True)


def _timed(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.postgres_nights")
    parser.add_argument("--megabytes", type=int, default=1000, help="about the size of the database")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    found = programs()
    if found is None:
        parser.error("there is no PostgreSQL server here: apt-get install postgresql")
    settings = {"shared_buffers": "256MB", "max_wal_size": "4GB", "maintenance_work_mem": "128MB"}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, postgres_process(found, **settings) as server:
        numbers, nights = fill(server, asked.megabytes), []
        (size,) = server.rows(f"SELECT pg_database_size('{DATABASE}')")[0]
        print(f"PostgreSQL database of {size / 1e6:.0f} MB, {numbers['orders_to']} orders", flush=True)
        for _ in range(asked.rounds):
            night, numbers = run(server, Path(folder), numbers)
            nights.append(night)
            print(f"{night.time_ratio:.2f} of the time, {night.second_ratio:.1%} of the bytes", flush=True)
    print(f"\n{table(nights)}")


if __name__ == "__main__":
    main()

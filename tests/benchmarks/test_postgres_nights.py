"""Whether the benchmark of PostgreSQL nights measures what it says, on a database of a few megabytes."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.postgres_nights import fill, run, table
from tests.postgres_fixtures import postgres_programs  # noqa: F401 - a fixture
from tests.postgres_process import postgres_process


def test_a_second_night_stores_a_small_part_of_the_first(postgres_programs: Path, tmp_path: Path) -> None:  # noqa: F811
    with postgres_process(postgres_programs) as server:
        numbers = fill(server, 12)
        night, after = run(server, tmp_path, numbers)
    assert after["orders_to"] > numbers["orders_to"]
    assert night.content_bytes > 5_000_000
    assert 0 < night.second_ratio < 0.2
    assert night.first_bytes < 1.1 * night.dump_bytes
    assert list(tmp_path.iterdir()) == []
    assert "first night / pg_dump -Fc: " in table([night])

"""Redis, PostgreSQL, Chroma and files in one night by the real command; lost, and put back into fresh servers."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import postgres_sample, redis_sample
from tests.chroma_process import chroma_server, seen
from tests.flows.terminal import Terminal, short_folder
from tests.flows.trees import grow, state_of
from tests.postgres_content import rows_of, schema_of, sequences_of
from tests.postgres_fixtures import postgres_programs  # noqa: F401 - a fixture
from tests.postgres_process import PostgresProcess, postgres_process
from tests.redis_process import RedisProcess, redis_process

SECRET = "never-in-the-open"

SOURCES = """
[sources.cache]
kind = "redis"
url = "{redis}"
password = "env:THE_REDIS_PASSWORD"

[sources.rows]
kind = "postgres"
url = "{postgres}"

[sources.vectors]
kind = "chroma"
path = "{chroma}"
"""


class Servers(NamedTuple):
    redis: RedisProcess
    postgres: PostgresProcess
    fresh_redis: RedisProcess
    fresh_postgres: PostgresProcess


@pytest.fixture
def servers(postgres_programs: Path) -> Iterator[Servers]:  # noqa: F811 - a fixture
    with (
        redis_process("--requirepass", SECRET, password=SECRET) as redis,
        postgres_process(postgres_programs) as postgres,
        redis_process() as fresh_redis,
        postgres_process(postgres_programs) as fresh_postgres,
    ):
        yield Servers(redis, postgres, fresh_redis, fresh_postgres)


@pytest.mark.timeout(300)  # three servers twice, and workers
def test_all_stores_are_one_recovery_point_and_come_back_into_fresh_servers(
    tmp_path: Path, filled_chroma: Path, servers: Servers
) -> None:
    home = tmp_path / "home"
    (home / "config").mkdir(parents=True)
    grow(home / "config")
    vectors = Path(shutil.copytree(filled_chroma, tmp_path / "vectors"))
    with closing(servers.redis.client(text=False)) as client:
        redis_sample.fill(client, 50)
        held = redis_sample.contents(client)
    postgres_sample.fill(servers.postgres, "shop")
    rows, schema = rows_of(servers.postgres, "shop"), schema_of(servers.postgres, "shop")
    sequences = sequences_of(servers.postgres, "shop")
    answers = seen(Path(shutil.copytree(vectors, tmp_path / "truth")))
    config = state_of(home / "config")

    terminal = Terminal(home)
    terminal.run("init")
    added = SOURCES.format(redis=f"unix://{servers.redis.socket}", postgres=servers.postgres.url(), chroma=vectors)
    terminal.edit("[plans.nightly]", added + "\n[plans.nightly]")
    night = terminal.run("run", "nightly", "--json", THE_REDIS_PASSWORD=SECRET)
    assert SECRET not in night.stdout + night.stderr
    assert SECRET.encode() not in b"".join(log.read_bytes() for log in home.glob(".geometra-backup/logs/*"))
    status = terminal.json("status")
    assert {each["source"] for each in status["sources"]} >= {"cache", "rows", "vectors", "config"}

    with short_folder() as scratch:
        drilled = terminal.json("drill", TMPDIR=str(scratch))
        assert list(scratch.iterdir()) == []
    assert {each["source"] for each in drilled} == {"cache", "config", "rows", "vectors"}
    assert {each["state"] for each in drilled} == {"done"}
    assert all(each["figures"]["compared_facts"] >= 5 for each in drilled)
    shown = terminal.run("show", "rows").stdout
    assert re.search(r"proof +verify .*: good", shown)
    assert re.search(r"proof +drill .*: good; depth compared", shown)
    servers.redis.kill()
    shutil.rmtree(vectors)
    shutil.rmtree(home / "config")
    with chroma_server(tmp_path / "fresh") as chroma:
        terminal.run("restore", "cache", "--to", f"unix://{servers.fresh_redis.socket}")
        with closing(servers.fresh_redis.client(text=False)) as client:
            assert redis_sample.contents(client) == held
        said = terminal.run("restore", "rows", "--to", servers.fresh_postgres.url(), "-o", "database=shop").stdout
        assert "what `-o` says of" in said
        again = ("-o", "database=shop", "-o", "as=shop2")
        told = terminal.run("restore", "rows", "--to", servers.fresh_postgres.url(), *again, code=3).stderr
        assert "roles that were there already are left as they are" in told
        assert schema_of(servers.fresh_postgres, "shop") == schema
        assert sequences_of(servers.fresh_postgres, "shop") == sequences
        for name in ("shop", "shop2"):
            assert rows_of(servers.fresh_postgres, name) == rows
        terminal.run("restore", "vectors", "--to", chroma.url)
        assert seen(chroma.url)["dump"].keys() == answers["dump"].keys()
    terminal.run("restore", "vectors", "--to", tmp_path / "back")
    assert seen(tmp_path / "back" / "vectors") == answers
    terminal.run("restore", "config", "--to", tmp_path / "files")
    assert state_of(tmp_path / "files" / "config") == config

"""Nights of all sources in which everything is killed, stopped and cut off: each source is sealed exactly once and can
be restored, or is reported as failed; the next night leaves nothing over.

`GEOMETRA_NIGHTS` says how many, 4 by default and 30 where CI=true, from the seed `GEOMETRA_FIRST_NIGHT` on;
`GEOMETRA_NIGHT=SEED` repeats one.
`GEOMETRA_NIGHTS_LOG` names a file that gets a line for each.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tasks.installation import Installation
from tasks.restore import Wanted, restore
from tasks.target import target_of
from tests import git_sample, redis_sample
from tests.flows import kinds
from tests.flows.fault_night import Night, Servers, left_in, tables_of
from tests.flows.house import House
from tests.flows.line import line_to
from tests.flows.nursery import Nursery
from tests.flows.trees import grow, state_of
from tests.postgres_content import rows_of
from tests.postgres_fixtures import postgres_programs  # noqa: F401 - a fixture
from tests.postgres_process import PostgresProcess, postgres_process
from tests.redis_process import RedisProcess, redis_process

_MANY = int(os.environ.get("GEOMETRA_NIGHTS", "30" if os.environ.get("CI") == "true" else "4"))
_FIRST = int(os.environ.get("GEOMETRA_FIRST_NIGHT", "0"))
SEEDS = [int(os.environ["GEOMETRA_NIGHT"])] if "GEOMETRA_NIGHT" in os.environ else range(_FIRST, _FIRST + _MANY)
FILES = ("config", "logs", "models", "docs", "test_data")
SECONDS = 100.0
"""After the last fault: by then the report must be there. It comes after a few; a machine under load takes longer."""

SHOP = (
    "CREATE TABLE goods (id int PRIMARY KEY, name text NOT NULL, price numeric(8, 2))",
    "INSERT INTO goods SELECT n, md5(n::text), n * 0.37 FROM generate_series(1, 3000) n",
    "CREATE TABLE orders (id bigserial PRIMARY KEY, good int REFERENCES goods, at timestamptz DEFAULT 'epoch')",
    "INSERT INTO orders (good) SELECT 1 + n % 3000 FROM generate_series(1, 2000) n",
)


@pytest.fixture(scope="session")
def servers(postgres_programs: Path) -> Iterator[Servers]:  # noqa: F811 - a fixture
    with redis_process() as redis, postgres_process(postgres_programs) as postgres, ExitStack() as stack:
        with closing(redis.client(text=False)) as client:
            redis_sample.fill(client, 20)
        for database in (0, 3, 9):  # what Redis tells of a stream's inner life is another after it was killed
            with closing(redis.client(database)) as client:
                client.delete("stream", "emptied")
        postgres.create("shop")
        postgres.run(*SHOP, database="shop")
        lines = [stack.enter_context(line_to(server.socket)) for server in (redis, postgres)]
        yield Servers(redis, lines[0], postgres, lines[1])


@pytest.fixture(scope="session")
def scratch(postgres_programs: Path) -> Iterator[tuple[RedisProcess, PostgresProcess]]:  # noqa: F811 - a fixture
    """Servers that are restored into."""
    with redis_process() as redis, postgres_process(postgres_programs) as postgres:
        yield redis, postgres


def sources(folder: Path, servers: Servers, filled_chroma: Path, seed: int) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for number, kind in enumerate(FILES):
        grown = grow(folder / kind, seed=seed * 10 + number, files=12, large=200_000 if kind == "models" else 0)
        found[kind] = {"kind": kind, "paths": [grown]}
    code = git_sample.init(folder / "code")
    git_sample.commit(code, {"app.py": "print('one')\n", "docs/read.me": "text\n"})
    (code / "untracked.txt").write_text("new\n")
    found["code"] = {"kind": "source_code", "repositories": [code]}
    found["cache"] = {"kind": "redis", "url": f"redis://127.0.0.1:{servers.redis_line.port}"}
    url = f"postgresql://postgres@127.0.0.1:{servers.postgres_line.port}/postgres"
    found["rows"] = {"kind": "postgres", "url": url, "databases": ["shop"]}
    found["vectors"] = {"kind": "chroma", "path": Path(shutil.copytree(filled_chroma, folder / "vectors"))}
    return found


@pytest.mark.needs("git", "redis-server")
@pytest.mark.timeout(400)
# Connections are cut off all the time, and one that was cut may be found unclosed when its loop is gone.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_night_of_faults_seals_each_source_once_or_says_what_failed(
    seed: int,
    tmp_path: Path,
    filled_chroma: Path,
    *,
    nursery: Nursery,
    servers: Servers,
    scratch: tuple[RedisProcess, PostgresProcess],
) -> None:
    began = time.monotonic()
    with redis_process() as broker, line_to(broker.socket) as line:
        url = f"redis://127.0.0.1:{line.port}/0"
        houses = [House(tmp_path / host, broker, url=url, host=host) for host in "ab"]
        try:
            made = sources(tmp_path / "originals", servers, filled_chroma, seed)
            for house in houses:
                house.folder.mkdir()
                destinations = {
                    "here": {"kind": "slow", "path": tmp_path / "here", "seconds": 0.03},
                    "offsite": {"kind": "slow", "path": tmp_path / "offsite", "seconds": 0.05},
                }
                some = {name: made[name] | {"destinations": ["here"]} for name in ("logs", "code", "vectors")}
                house.configure(made | some, destinations)
            night = Night(seed, houses, nursery=nursery, broker=broker, line=line, servers=servers)
            told = f"seed {seed}: GEOMETRA_NIGHT={seed} repeats it\n" + "\n".join(map(str, night.faults))
            with night.begun() as run:
                night.suffer()
                mended = time.monotonic()
                report = night.reached(lambda: houses[0].record.report(run), SECONDS)
                assert report, f"no report; {told}\nmissing: {missing(houses[0], run)}"
                waited = time.monotonic() - mended
                assert not night.left(lambda: left_in(broker), 20), f"messages: {left_in(broker)}; {told}"
                failed = check(report, houses[0].installation, told)
                left = night.left(lambda: spools(houses), 10)
                if failed or left:  # what a night leaves on a host, the next one there brings home
                    again = houses[0].start()
                    second = night.reached(lambda: houses[0].record.report(again), SECONDS)
                    assert second, f"no second report; {told}\nmissing: {missing(houses[0], again)}"
                    assert not check(second, houses[0].installation, told), f"{second['failures']}; {told}"
                    still = night.left(lambda: spools(houses), 60)
                    assert not still, f"left in the spool: {still}; {told}"
            assert_restored(houses[0], tmp_path / "back", made, servers=servers, scratch=scratch)
            keep(
                seed,
                faults=len(night.faults),
                seconds=time.monotonic() - began,
                waited=waited,
                failed=failed,
                left=len(left),
            )
        finally:
            for house in houses:
                house.close()


def check(report: dict[str, Any], installation: Installation, told: str) -> list[str]:
    """The steps that failed. Each is reported, none for a mistake in the program; nothing is sealed twice, and what was
    not reported as failed is sealed."""
    assert report["missing"] == [], told
    failures = {failure["step"]: failure for failure in report["failures"]}
    assert not [each for each in failures.values() if each["kind"] == "Unexpected"], f"{failures}; {told}"
    states = {step: outcome["state"] for step, outcome in report["steps"].items()}
    assert set(states.values()) <= {"done", "failed", "skipped"}, f"{states}; {told}"
    for step, state in states.items():
        verb, source, destination = (*step.split("/"), "")[:3]
        assert state != "failed" or step in failures, f"{step} failed in silence; {told}"
        if verb == "upload":
            with kinds.registered():
                snapshots = installation.repository(source, destination).snapshots() if state == "done" else []
            sealed = [snapshot for snapshot in snapshots if snapshot.run == report["run"]]
            assert len(sealed) == (state == "done"), f"{step}: {len(sealed)} snapshots; {told}"
    return sorted(failures)


def missing(house: House, run: str) -> tuple[str, ...]:
    about = house.record.run(run)
    return house.record.missing(about) if about else ("the run itself",)


def spools(houses: list[House]) -> list[str]:
    found = list[str]()
    for house in houses:
        spool = house.folder / "state/spool"
        for source in spool.iterdir() if spool.is_dir() else ():
            with suppress(FileNotFoundError, NotADirectoryError):  # what is removed right now; a file of its own
                found += map(str, source.iterdir())
    return found


def assert_restored(
    house: House, into: Path, made: dict[str, Any], *, servers: Servers, scratch: tuple[RedisProcess, PostgresProcess]
) -> None:
    """All as it was, from the destination that every source has, with every cache of this host gone."""
    shutil.rmtree(house.folder / "state" / "cache", ignore_errors=True)
    redis, postgres = scratch
    with kinds.registered():
        installation = house.installation
        for name, options in made.items():
            if name in ("cache", "rows"):
                continue
            restore(installation, name, "here", Wanted(into / name))
            if name == "code":
                assert git_sample.state(into / name / "code") == git_sample.state(options["repositories"][0])
            elif name == "vectors":
                assert tables_of(into / name) == tables_of(options["path"])
            else:
                assert state_of(into / name / name) == state_of(options["paths"][0])
        with closing(redis.client(text=False)) as there, closing(servers.redis.client(text=False)) as here:
            there.flushall()
            there.function_flush()
            target = target_of(installation.source("cache"), f"unix://{redis.socket}", {})
            restore(installation, "cache", "here", Wanted(target))
            assert redis_sample.contents(there) == redis_sample.contents(here)
        target = target_of(installation.source("rows"), postgres.url(), {"database": ["shop"], "as": ["back"]})
        try:
            restore(installation, "rows", "here", Wanted(target))
            assert rows_of(postgres, "back") == rows_of(servers.postgres, "shop")
        finally:
            postgres.drop("back")


def keep(seed: int, **figures: Any) -> None:
    if "GEOMETRA_NIGHTS_LOG" in os.environ:
        with open(os.environ["GEOMETRA_NIGHTS_LOG"], "a") as log:
            log.write(json.dumps({"seed": seed, **figures}) + "\n")

"""Drills in nights by real workers: when they are due, what a bad one stops, and what is left of one that is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import postgres_sample
from tests.flows.house import House
from tests.flows.terminal import ROOT, Terminal, short_folder
from tests.flows.test_night import local, tree
from tests.postgres_fixtures import postgres, postgres_programs, shared_postgres  # noqa: F401 - fixtures
from tests.postgres_process import PostgresProcess


@pytest.fixture
def scratch() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


VERBS = ["backup", "upload", "verify", "drill", "prune"]


def states(report: dict[str, Any], source: str) -> dict[str, str]:
    return {step["verb"]: step["state"] for step in report["steps"].values() if step["source"] == source}


def test_a_night_drills_what_is_due_and_lets_go_nothing_where_that_fails(house: House) -> None:
    sources = {
        "docs": tree(house, "docs", "docs") | {"drill": "7d"},
        "plain": tree(house, "docs", "plain"),
        "wrong": tree(house, "miscounting", "wrong") | {"drill": "7d"},
    }
    house.configure(sources, {"here": local(house), "there": local(house, "other")}, scratch="scratch")
    house.worker()
    first = house.night()
    assert first["state"] == "failed"
    assert states(first, "docs") == dict.fromkeys(VERBS, "done")
    assert states(first, "plain") == dict.fromkeys([verb for verb in VERBS if verb != "drill"], "done")
    assert states(first, "wrong") == {
        **dict.fromkeys(["backup", "upload", "verify"], "done"), "drill": "failed", "prune": "skipped",
    }  # fmt: skip
    assert {failure["step"] for failure in first["failures"]} == {"drill/wrong/here", "drill/wrong/there"}
    assert "`files`" in first["failures"][0]["message"]
    point = first["recovery_point"]["sources"]
    assert (point["docs"]["proven"], point["wrong"]["proven"]) == (["here", "there"], [])
    assert list((house.folder / "scratch").iterdir()) == []
    drilled = first["steps"]["drill/docs/here"]["figures"]
    assert drilled["compared_facts"] >= 5

    second = house.night(sources=["docs"])
    assert states(second, "docs") == dict.fromkeys(VERBS, "done")
    figures = second["steps"]["drill/docs/here"]["figures"]
    assert "compared_facts" not in figures, "it was not due"
    assert drilled["began_epoch_seconds"] - 1 <= figures["last_drill_epoch_seconds"] <= drilled["ended_epoch_seconds"]

    wanted = {"source": "docs", "destination": "here", "run": "by-hand"}
    with house.app() as app:
        asked = app.send_task("drill", kwargs=wanted, queue="drill").get(timeout=60)
    assert (asked["state"], asked["snapshot"]) == ("done", second["steps"]["backup/docs"]["snapshot"])
    assert asked["figures"]["compared_facts"] == drilled["compared_facts"]


def test_a_drill_whose_worker_is_killed_is_begun_anew_and_leaves_nothing(
    house: House,
    postgres: PostgresProcess,  # noqa: F811
    scratch: Path,
) -> None:
    postgres_sample.fill(postgres, "shop")
    sources = {"rows": {"kind": "postgres", "url": postgres.url(), "drill": "1d"}}
    house.configure(sources, {"here": local(house)}, scratch=str(scratch))
    worker = house.worker()
    run = house.start()
    server = house.wait_for(lambda: server_below(scratch), "a scratch server", 60)
    worker.kill()
    house.worker()
    report = house.report(run, 100)
    assert states(report, "rows") == dict.fromkeys(VERBS, "done"), report
    house.wait_for(lambda: not Path(f"/proc/{server}").exists(), "the end of the first server", 30)
    house.wait_for(lambda: list(scratch.iterdir()) == [], "that it is all gone", 30)


def test_a_drill_by_hand_that_is_killed_takes_its_server_with_it(
    tmp_path: Path,
    postgres: PostgresProcess,  # noqa: F811
    scratch: Path,
) -> None:
    postgres_sample.fill(postgres, "shop")
    home = tmp_path / "home"
    home.mkdir()
    terminal = Terminal(home)
    terminal.run("init")
    added = f'[sources.rows]\nkind = "postgres"\nurl = "{postgres.url()}"\n'
    terminal.edit("[plans.nightly]", f"{added}\n[plans.nightly]")
    terminal.run("run", "--source", "rows")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)}
    command = [sys.executable, "-m", "workers.cli.main", "drill", "rows"]
    with subprocess.Popen(command, cwd=home, env=environment, start_new_session=True) as child:
        server = until(lambda: server_below(scratch))
        child.send_signal(signal.SIGKILL)
    until(lambda: not Path(f"/proc/{server}").exists())
    assert len(list(scratch.iterdir())) == 1
    said = terminal.run("drill", "rows", TMPDIR=str(scratch)).stdout
    assert re.search(r"rows at local: the same came back, by \d+ facts;", said)
    assert list(scratch.iterdir()) == []
    for pack in home.glob("backups/rows/packs/*/*"):
        pack.write_bytes(bytes(pack.stat().st_size))
    said = terminal.run("drill", "rows", code=65, TMPDIR=str(scratch)).stdout
    assert "rows at local: what came back of `rows` at `local`" in said


def server_below(scratch: Path) -> int:
    """The process of the PostgreSQL that has its files there; 0 while there is none."""
    written = [file.read_text().split() for file in scratch.glob("*/work/data/postmaster.pid")]
    return int(written[0][0]) if written and written[0] else 0


def until(found: Any, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > deadline:
            pytest.fail("it does not come to that")
        time.sleep(0.02)
    return value

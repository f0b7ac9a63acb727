"""`status` tells what last failed of each source, whatever else ran since, and on whichever host it was reported."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.capture import capture
from tasks.configuration import load
from tasks.installation import Installation
from tasks.outcome import Failure, Outcome
from tasks.record import Record, Run
from tasks.report import compose
from tasks.report_files import write
from tests.flows.terminal import ROOT, Terminal
from tests.redis_process import redis_process

NOW = datetime.now(UTC)
BEGUN = {"began_epoch_seconds": 1.0, "ended_epoch_seconds": 2.0}
DENIED = Failure("Refused", "may not delete")


def run_of(name: str, source: str) -> Run:
    return Run(name, "nightly", "", NOW, (f"backup/{source}", f"prune/{source}/local"))


def reported(run: Run, source: str, failure: Failure | None = None) -> dict[str, Any]:
    pruned = Outcome("prune", source, "local", run.id, state="failed" if failure else "done", failure=failure)
    outcomes = {
        f"backup/{source}": Outcome("backup", source, run=run.id, figures=BEGUN),
        f"prune/{source}/local": pruned,
    }
    return compose(run, outcomes, NOW)


def problem_of(status: dict[str, Any], source: str) -> str:
    (place,) = [place for place in status["sources"] if place["source"] == source]
    assert place["good"] is not bool(place["problem"])
    return str(place["problem"])


def test_a_plan_that_runs_often_does_not_hide_what_failed_in_the_last_run_of_another(copied: Terminal) -> None:
    reports = copied.folder / ".geometra-backup/reports"
    write(reports, reported(run_of("night", "docs"), "docs", DENIED))
    for number in range(30):
        write(reports, reported(run_of(f"hour-{number}", "config"), "config"))
    status = copied.json("status", code=1)
    assert problem_of(status, "docs") == "the last run failed: may not delete"
    assert problem_of(status, "config") == ""
    assert [run["run"] for run in status["runs"]] == [f"hour-{number}" for number in range(29, 24, -1)]
    write(reports, reported(run_of("next-night", "docs"), "docs"))
    assert copied.json("status")["good"] is True


def test_why_there_is_no_backup_yet_is_told(copied: Terminal) -> None:
    shutil.rmtree(copied.folder / "backups/docs")
    shutil.rmtree(copied.folder / ".geometra-backup/cache/local/docs")
    assert problem_of(copied.json("status", code=1), "docs") == "never backed up"
    reports = copied.folder / ".geometra-backup/reports"
    write(reports, reported(run_of("night", "docs"), "docs", DENIED))
    assert problem_of(copied.json("status", code=1), "docs") == "the last run failed: may not delete"


def test_a_destination_that_does_not_answer_is_asked_for_one_source_alone(copied: Terminal) -> None:
    """Each other one would wait for it as long again, minutes as it is set unless told otherwise."""
    asked: list[bytes] = []
    (copied.folder / "key").write_text("key")
    with listening(lambda connection: asked.append(connection.recv(1000).split(b" ")[1])) as port:
        copied.edit("[sources.docs]", f"{far_away('far', port, '1s')}\n[sources.docs]")
        status = copied.json("status", code=1)
    places = {(place["source"], place["destination"]): place for place in status["sources"]}
    assert places["docs", "local"]["good"]
    assert places["config", "local"]["good"]
    for source in ("docs", "config"):
        assert "no answer" in places[source, "far"]["problem"]
    assert len({path.split(b"/")[2] for path in asked}) == 1


def test_destinations_that_hang_are_asked_at_once_and_named(copied: Terminal) -> None:
    (copied.folder / "key").write_text("key")
    named = threading.Event()

    def refuse(connection: socket.socket) -> None:
        connection.recv(1000)
        named.wait(60)
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        connection.close()

    with ExitStack() as stack:
        for name in ("far", "farther"):
            far = far_away(name, stack.enter_context(listening(refuse)), "60s")
            copied.edit("[sources.docs]", f"{far}\n[sources.docs]")
        child = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "workers.cli.main", "status", "--json"],
                cwd=copied.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(child.kill)
        assert child.stderr
        told = [child.stderr.readline(), child.stderr.readline()]
        named.set()
        places = json.loads(child.communicate(timeout=100)[0])["sources"]
    assert {line.split(":")[0] for line in told} == {f"`{name}` has not answered yet" for name in ("far", "farther")}
    assert sum("does not let this key read" in place.get("problem", "") for place in places) == 4
    assert sum(place["good"] for place in places) == 2


@contextmanager
def listening(heed: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that takes one connection after the other, and holds what `heed` leaves open."""
    with ExitStack() as held, closing(socket.create_server(("127.0.0.1", 0))) as server:

        def listen() -> None:
            while True:
                with suppress(ConnectionError):
                    try:
                        connection, _ = server.accept()
                    except OSError:
                        return  # it was shut down
                    heed(held.enter_context(connection))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(100)


def far_away(name: str, port: int, patience: str) -> str:
    return f"""[destinations.{name}]
kind = "s3"
bucket = "far-away"
endpoint = "http://127.0.0.1:{port}"
path_style = true
access_key = "file:key"
secret_key = "file:key"
read_timeout = "{patience}"
deadline = "{patience}"
"""


def test_a_run_that_was_reported_on_another_host_is_told(
    copied: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_process() as server, closing(server.client()) as client:
        monkeypatch.setenv("GEOMETRA_BACKUP_BROKER", server.url)
        record, run = Record(client), run_of("night", "docs")
        record.begin(run)
        record.keep_report("night", reported(run, "docs", DENIED))
        status = copied.json("status", code=1)
        assert problem_of(status, "docs") == "the last run failed: may not delete"
        assert status["runs"][0]["run"] == "night"
        assert len(status["runs"]) == 2, "those of this host's files follow"
        write(copied.folder / ".geometra-backup/reports", record.report("night") or {})
        assert len(copied.json("status", code=1)["runs"]) == 2
        (copied.folder / ".geometra-backup/reports/night.json").unlink()
    done = copied.run("status")
    assert "only runs that ended on this host are known: the broker does not answer" in done.stderr


def test_a_verify_by_hand_makes_up_for_one_that_failed(copied: Terminal) -> None:
    passphrase = copied.folder / "keys/passphrase"
    right = passphrase.read_text()
    passphrase.write_text("wrong\n")
    copied.run("run", "--source", "docs", code=1)
    passphrase.write_text(right)
    assert "the last run failed: wrong passphrase" in problem_of(copied.json("status", code=1), "docs")
    copied.run("verify", "docs")
    assert problem_of(copied.json("status"), "docs") == ""


def test_a_drill_by_hand_makes_up_for_one_that_failed_and_a_verify_does_not(copied: Terminal) -> None:
    copied.edit("[sources.docs]", '[sources.docs]\ndrill = "7d"')
    (copied.folder / "full").write_text("no folder")
    copied.run("run", "--source", "docs", code=1, TMPDIR=str(copied.folder / "full"))
    assert "the last run failed: the scratch folder" in problem_of(copied.json("status", code=1), "docs")
    copied.run("verify", "docs")
    assert "the last run failed: the scratch folder" in problem_of(copied.json("status", code=1), "docs")
    copied.run("drill", "docs")
    assert copied.json("list", "docs")[-1]["drilled"]
    assert problem_of(copied.json("status"), "docs") == ""


def test_a_verify_by_hand_does_not_hide_what_was_found_damaged(copied: Terminal) -> None:
    report = copied.json("run", "--source", "docs")
    run = run_of(report["run"], "docs")
    rotten = Outcome("verify", "docs", "local", run.id, state="failed", failure=Failure("Damaged", "a pack is damaged"))
    report["steps"]["verify/docs/local"] = rotten.to_json()
    write(copied.folder / ".geometra-backup/reports", report)
    assert problem_of(copied.json("status", code=1), "docs") == "the last run failed: a pack is damaged"


def test_why_what_waits_could_not_be_uploaded_is_told(copied: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_process() as server:
        monkeypatch.setenv("GEOMETRA_BACKUP_BROKER", server.url)
        capture(Installation(load(copied.folder / "backup.toml")), "docs", run_of("night", "docs"))
        write(copied.folder / ".geometra-backup/reports", reported(run_of("night", "docs"), "docs", DENIED))
        problem = problem_of(copied.json("status", code=1), "docs")
    assert problem == "1 captures wait in the spool to be uploaded; the last run failed: may not delete"


def test_what_waits_for_a_source_that_was_renamed_is_told_with_what_to_do(
    copied: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes up room in the spool, and no upload will come for it."""
    with redis_process() as server:
        monkeypatch.setenv("GEOMETRA_BACKUP_BROKER", server.url)
        capture(Installation(load(copied.folder / "backup.toml")), "docs", run_of("missed", "docs"))
        assert problem_of(copied.json("status", code=1), "docs") == "1 captures wait in the spool to be uploaded"
        copied.edit("[sources.docs]", "[sources.manuals]")
        status = copied.json("status", code=1)
        problem = problem_of(status, "docs")
        assert "a source that is not in backup.toml" in problem
        assert status["good"] is False
        shutil.rmtree(problem.split("`")[1])
        assert [place["source"] for place in copied.json("status", code=1)["sources"]] == ["config", "manuals"]

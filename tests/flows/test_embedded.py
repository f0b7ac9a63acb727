"""One command with broker, worker and night: it leaves nothing running, and survives kills of each of its parts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.broker import broker_folder, broker_url, connect, socket_path
from tasks.capture import capture
from tasks.record import Run
from tests.flows.house import ROOT, VISIBILITY, House
from tests.flows.test_kills import gated_source, reached
from tests.flows.test_night import assert_restores, local, originals_of, tree


@pytest.fixture
def alone(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A house that has no broker of its own."""
    for name, value in house.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GEOMETRA_BACKUP_BROKER")
    yield house
    for process in processes_of(house):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


@contextmanager
def night(house: House, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.flows.embedded_night", str(house.file), *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def told(child: subprocess.Popen[str]) -> dict[str, Any]:
    assert child.stdout
    return dict(json.loads(child.stdout.readline() or "{}"))


def processes_of(house: House) -> dict[int, str]:
    """Those that have the house's folder or socket in their command line or environment, but not this one's children
    that a test started itself."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(house.folder).encode() in text and command and not is_night(int(entry.name), command):
            found[int(entry.name)] = command
    return found


def is_night(process: int, command: str) -> bool:
    """Whether it is what a test started: what that one started is forked from it, but in a session of its own."""
    return "embedded_night" in command and os.getsid(process) == os.getsid(0)


def workers_of(house: House) -> list[int]:
    return [process for process, command in processes_of(house).items() if "-server" not in command]


def assert_nothing_runs(house: House) -> None:
    house.wait_for(lambda: not processes_of(house), "the end of every process")
    assert not socket_path(house.installation.settings).exists()


def assert_next_command_ends(house: House, run: str) -> None:
    """The next night is good, and so is the run before it, which it, or at the latest the one after it, ended."""
    report = house.folder / f"state/reports/{run}.json"
    for _ in range(2):
        with night(house) as child:
            told(child)
            assert told(child)["state"] == "done"
        if report.exists():
            break
    assert json.loads(report.read_text())["state"] == "done"


def test_a_night_without_any_server_leaves_nothing_running(alone: House) -> None:
    alone.configure({"docs": tree(alone, "docs", "docs")}, {"here": local(alone)})
    with night(alone) as child:
        begun, ended = told(child), told(child)
        assert child.wait(30) == 0
    assert begun["ready_seconds"] < 30
    assert ended == {"state": "done", "failures": []}
    assert_nothing_runs(alone)
    assert broker_folder(alone.installation.settings).stat().st_mode & 0o777 == 0o700
    assert_restores(alone, originals_of(alone, "docs"))


def test_a_killed_worker_is_started_again_and_the_night_ends(alone: House) -> None:
    gate = gated_source(alone)
    with night(alone) as child:
        told(child)
        reached(alone, gate)
        os.killpg(os.getpgid(workers_of(alone)[0]), signal.SIGKILL)
        gate.unlink()
        assert told(child)["state"] == "done"
        assert child.wait(30) == 0
    assert_restores(alone, originals_of(alone, "gated", "docs"))


def test_a_killed_command_takes_its_worker_along_and_the_next_one_ends_its_night(alone: House) -> None:
    gate = gated_source(alone)
    with night(alone) as child:
        run = told(child)["run"]
        reached(alone, gate)
        child.kill()
    gate.unlink()
    alone.wait_for(lambda: not workers_of(alone), "the end of the worker")
    assert_next_command_ends(alone, run)
    assert_nothing_runs(alone)


def test_a_broker_killed_with_its_command_is_started_again_by_the_next_with_what_it_knew(alone: House) -> None:
    gate = gated_source(alone)
    settings = alone.installation.settings
    with night(alone) as child:
        run = told(child)["run"]
        reached(alone, gate)
        with closing(connect(broker_url(settings))) as client:
            server = int(client.info("server")["process_id"])
        time.sleep(1.2)  # what the broker's log file may lack
        os.kill(server, signal.SIGKILL)
        child.kill()
    gate.unlink()
    assert_next_command_ends(alone, run)
    assert_nothing_runs(alone)


def test_a_broker_killed_alone_is_started_again_under_the_running_command(alone: House) -> None:
    gate = gated_source(alone)
    settings = alone.installation.settings
    with night(alone) as child:
        told(child)
        reached(alone, gate)
        with closing(connect(broker_url(settings))) as client:
            server = int(client.info("server")["process_id"])
        time.sleep(1.2)
        os.kill(server, signal.SIGKILL)
        gate.unlink()
        assert told(child)["state"] == "done"
        assert child.wait(30) == 0
    assert_nothing_runs(alone)


def test_two_commands_at_once_share_a_broker_and_the_last_to_leave_stops_it(alone: House) -> None:
    gate = gated_source(alone)
    with night(alone) as first:
        told(first)
        reached(alone, gate)
        with night(alone) as second:
            told(second)
            servers = [command for command in processes_of(alone).values() if "-server" in command]
            assert len(servers) == 1
            gate.unlink()
            assert told(second)["state"] == "done"
            assert told(first)["state"] == "done"
            assert (first.wait(30), second.wait(30)) == (0, 0)
    assert_nothing_runs(alone)


@pytest.mark.parametrize("lasts", [False, True])
def test_what_another_source_left_in_the_spool_is_sent_by_what_lasts_and_not_waited_for_by_a_command(
    alone: House, lasts: bool
) -> None:
    gate = gated_source(alone)
    earlier = Run("earlier", "", "", datetime.now(UTC), ("backup/docs", "upload/docs/here"))
    assert capture(alone.installation, "docs", earlier).state == "done"
    left = alone.folder / "state/spool/docs/earlier"
    with night(alone, "gated", *["--beat"] * lasts) as child:
        told(child)
        reached(alone, gate)
        if lasts:
            alone.wait_for(lambda: not left.exists(), "what was left")
        else:
            time.sleep(VISIBILITY)  # a worker that lasts looks twice in it
        gate.unlink()
        assert told(child)["state"] == "done"
        assert child.wait(30) == 0
    assert left.exists() is not lasts

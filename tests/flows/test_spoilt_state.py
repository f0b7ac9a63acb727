"""What a disk, a power cut or another user did to the state folder: it is told, and stops as little as may be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.flows.terminal import ROOT, Terminal
from tests.flows.trees import state_of


def test_what_cant_be_read_in_the_spool_is_told_and_in_nobodys_way(copied: Terminal) -> None:
    spool = copied.folder / ".geometra-backup/spool"
    (spool / "lost+found/strange one").mkdir(parents=True)
    broken = spool / "docs/run-1/sealed.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    report = copied.json("run", code=3)
    states = {step: outcome["state"] for step, outcome in report["steps"].items()}
    assert {step for step, state in states.items() if state != "done"} == {"upload/docs/local"}
    assert states["upload/docs/local"] == "incomplete"
    assert str(broken) in report["steps"]["upload/docs/local"]["flaws"][0]
    (docs,) = [place for place in copied.json("status", code=1)["sources"] if place["source"] == "docs"]
    assert str(broken.parent) in docs["problem"]
    assert broken.exists()
    shutil.rmtree(broken.parent)
    assert copied.json("run")["state"] == "done"
    assert copied.json("status")["good"] is True
    assert (spool / "lost+found/strange one").is_dir()


@pytest.mark.needs("setpriv")
def test_what_another_user_left_in_the_spool_fails_its_source_alone(copied: Terminal) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    humble = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
    spool = copied.folder / ".geometra-backup/spool"
    spool.chmod(0o1700)
    closed = spool / "docs/run-1/sealed.json"
    closed.parent.mkdir(parents=True)
    closed.touch(mode=0o600)
    (spool / "aaa").mkdir(mode=0o700)
    (spool / ".trash-0a1b").mkdir(mode=0o700)
    for path in (spool, closed, spool / "aaa", spool / ".trash-0a1b"):
        os.chown(path, 65534, 65534)
    spool.chmod(0o1777)
    report = copied.json("run", code=3, prefix=humble)
    states = {step: outcome["state"] for step, outcome in report["steps"].items()}
    assert {step for step, state in states.items() if state != "done"} == {"upload/docs/local"}
    assert str(closed) in report["steps"]["upload/docs/local"]["flaws"][0]
    (spool / "config").mkdir(exist_ok=True)
    (spool / "config").chmod(0o700)
    os.chown(spool / "config", 65534, 65534)
    assert copied.json("run", "--source", "docs", code=3, prefix=humble)["state"] == "incomplete"
    problems = {place["source"]: place["problem"] for place in copied.json("status", code=1, prefix=humble)["sources"]}
    assert str(spool / "config") in problems["config"]
    assert str(closed) in problems["docs"]


@pytest.mark.parametrize("place", ["cache", "cache/local", "cache/local/docs"])
def test_a_cache_that_is_none_costs_nothing(copied: Terminal, place: str) -> None:
    path = copied.folder / ".geometra-backup" / place
    shutil.rmtree(path)
    path.write_text("in the way")
    assert copied.json("run")["state"] == "done"
    copied.run("restore", "docs", "--to", "back")
    assert state_of(copied.folder / "back/docs") == state_of(copied.folder / "docs")
    copied.run("prune", "docs")


def test_a_state_folder_that_is_none_stops_no_restore(lived: Terminal, copied: Terminal) -> None:
    shutil.rmtree(copied.folder / ".geometra-backup")
    (copied.folder / ".geometra-backup").write_text("in the way")
    copied.run("restore", "docs", "--to", "back")
    assert state_of(copied.folder / "back/docs") == state_of(lived.folder / "docs")


def test_a_broker_whose_data_is_damaged_costs_no_night(copied: Terminal) -> None:
    (rows,) = (copied.folder / ".geometra-backup/broker/appendonlydir").glob("*.incr.aof")
    with rows.open("ab") as file:
        file.write(bytes(4096))
    done = copied.run("run")
    (aside,) = (copied.folder / ".geometra-backup/broker").glob("*.damaged-*")
    assert [line for line in done.stderr.splitlines() if str(aside) in line]
    assert copied.run("run").stderr == ""


def test_a_capture_that_is_damaged_in_the_spool_is_named_with_what_to_do(copied: Terminal) -> None:
    (copied.folder / "far").mkdir()
    with (copied.folder / "backup.toml").open("a") as file:
        file.write('\n[destinations.far]\nkind = "local"\npath = "far"\n')
    (copied.folder / "far").rename(copied.folder / "away")
    copied.folder.joinpath("docs/added.md").write_text("new")
    night = subprocess.Popen(
        [sys.executable, "-m", "workers.cli.main", "run", "--source", "docs"],
        cwd=copied.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert night.stderr
    with night, night.stderr:
        next(line for line in night.stderr if b"far" in line)  # the upload to it waits
        night.terminate()
    (copy,) = (copied.folder / ".geometra-backup/spool/docs").glob("*/attempt-*/docs/snapshots/*")
    copy.chmod(0o600)
    copy.write_bytes(bytes(copy.stat().st_size))
    (copied.folder / "away").rename(copied.folder / "far")
    for _ in range(2):
        report = copied.json("run", "--source", "docs", code=3)
        (flaw,) = report["steps"]["upload/docs/far"]["flaws"]
        assert f"remove `{copy.parents[3]}`" in flaw
    shutil.rmtree(copy.parents[3])
    assert copied.json("run", "--source", "docs")["state"] == "done"


@pytest.mark.parametrize(("place", "said"), [("logs", "a file is where"), ("logs/console.log", "a folder is in")])
def test_a_log_that_cant_be_written_is_one_clear_line(copied: Terminal, place: str, said: str) -> None:
    path = copied.folder / ".geometra-backup" / place
    if place == "logs":
        shutil.rmtree(path)
        path.write_text("in the way")
    else:
        path.unlink()
        path.mkdir()
    complaint = copied.complaint("run", code=77)
    assert f"log to `{copied.folder}/.geometra-backup/logs/console.log` ({said}" in complaint


def test_a_report_that_cant_be_written_is_told_and_the_run_ends(copied: Terminal) -> None:
    reports = copied.folder / ".geometra-backup/reports"
    shutil.rmtree(reports)
    reports.write_text("in the way")
    report = copied.json("run")
    assert report["state"] == "done"
    assert str(reports) in report["unwritten"]
    assert str(reports) in copied.run("run").stdout
    assert copied.json("status")["good"] is True
    reports.unlink()
    assert "unwritten" not in copied.json("run")


@pytest.mark.parametrize("text", ["null", '{"name":"x"}'])
def test_a_file_of_somebody_among_the_reports_is_no_report(copied: Terminal, text: str) -> None:
    (copied.folder / ".geometra-backup/reports/summary.json").write_text(text)
    status = copied.json("status")
    assert status["good"] is True
    assert len(status["runs"]) == 1


def test_a_failed_run_that_a_wrong_clock_dated_ahead_is_over_after_a_good_one(copied: Terminal) -> None:
    (copied.folder / "docs").rename(copied.folder / "away")
    failed = copied.json("run", "--source", "docs", code=1)["run"]
    ahead = time.time() + 30 * 24 * 3600
    os.utime(copied.folder / f".geometra-backup/reports/{failed}.json", (ahead, ahead))
    (copied.folder / "away").rename(copied.folder / "docs")
    assert copied.json("run", "--source", "docs")["state"] == "done"
    assert copied.json("status")["good"] is True


@pytest.mark.needs("setpriv")
@pytest.mark.parametrize("private", [".geometra-backup", ".geometra-backup/reports"])
def test_who_may_not_see_the_reports_is_told_so_and_not_that_all_is_good(copied: Terminal, private: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to another user")
    folder = copied.folder / private
    folder.chmod(0o700)
    os.chown(folder, 65534, 65534)
    humble = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
    error = copied.json("status", code=77, prefix=humble)["error"]
    assert "run this as the user who backs up here" in error["message"]
    metrics = copied.run("metrics", prefix=humble).stdout
    assert "geometra_backup_broker_reachable 0.0" in metrics
    if private == ".geometra-backup":
        copied.json("check", code=1, prefix=humble)
        copied.json("run", code=75, prefix=humble)

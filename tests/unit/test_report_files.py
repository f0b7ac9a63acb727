"""Reports as files: read back newest first, whatever else lies in their folder."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.outcome import Failure, Outcome
from tasks.record import Run
from tasks.report import compose
from tasks.report_files import read_reports, write

START = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)


def report(name: str = "run-1") -> dict[str, Any]:
    outcomes = {
        "backup/docs": Outcome("backup", "docs", run=name, figures={"new_bytes": 10.0}),
        "upload/docs/here": Outcome("upload", "docs", "here", name, state="failed", failure=Failure("Refused", "no")),
    }
    return compose(Run(name, "nightly", "", START, tuple(outcomes)), outcomes, START + timedelta(minutes=3))


def test_reports_are_read_back_newest_first_and_old_ones_go(tmp_path: Path) -> None:
    written = [write(tmp_path, report(f"20261123T{number:06}Z-a")) for number in range(405)]
    assert json.loads(written[-1].read_text())["run"] == "20261123T000404Z-a"
    assert [each["run"] for each in read_reports(tmp_path, limit=2)] == ["20261123T000404Z-a", "20261123T000403Z-a"]
    assert len(list(tmp_path.iterdir())) == 400


def test_one_that_a_wrong_clock_dated_ahead_hides_none_that_follow(tmp_path: Path) -> None:
    ahead, skewed = write(tmp_path, report("ahead")), write(tmp_path, report("skewed"))
    write(tmp_path, report("next"))
    os.utime(ahead, (0, time.time() + 30 * 24 * 3600))
    os.utime(skewed, (0, time.time() + 300))
    assert [each["run"] for each in read_reports(tmp_path)] == ["skewed", "next", "ahead"]


def test_a_whole_report_comes_back_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, report())
    assert read_reports(tmp_path) == [json.loads(json.dumps(report()))]
    assert read_reports(tmp_path / "nothing here") == []


@pytest.mark.parametrize("text", ["", "{", "null", "5", "[1,2]", '{"name":"x"}', "[" * 30_000, b"\xff\xfe"])
def test_a_file_that_is_no_report_hides_none(tmp_path: Path, text: str | bytes) -> None:
    write(tmp_path, report())
    (tmp_path / "summary.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "away.json").symlink_to("nowhere")
    assert [each["run"] for each in read_reports(tmp_path)] == ["run-1"]


@pytest.mark.parametrize(
    "changed",
    [
        {"run": "../x"},
        {"started": "yesterday"},
        {"started": "2026-11-23T02:30:00"},
        {"finished": 5},
        {"seconds": "5"},
        {"missing": ["upload"]},
        {"failures": ["no"]},
        {"steps": []},
        {"steps": {"backup/docs": {"source": "docs"}}},
        {"steps": {"backup/docs": Outcome("backup", "docs", state="failed").to_json()}},
        {"parts": {"backup/docs/part-1": None}},
        {"parts": None},
    ],
)
def test_what_looks_like_a_report_and_lacks_something_is_none(tmp_path: Path, changed: dict[str, Any]) -> None:
    (tmp_path / "changed.json").write_text(json.dumps(report() | changed))
    assert read_reports(tmp_path) == []

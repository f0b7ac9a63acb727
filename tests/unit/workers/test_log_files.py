"""Logs: one file a day that processes share, old ones gone, no password in any."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from workers import log_files
from workers.log_files import DailyFile, redact


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    structlog.reset_defaults()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.log")) for line in path.read_text().splitlines()]


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, __file__, 1, text, None, None)


def test_each_line_is_json_in_the_file_of_the_day(tmp_path: Path) -> None:
    log_files.set_up(tmp_path / "logs", console=False)
    structlog.get_logger("tasks.step").info("ended", source="docs", seconds=1.5)
    logging.getLogger("kombu").warning("connection %s", "lost")
    first, second = lines(tmp_path / "logs")
    assert (first["event"], first["source"], first["seconds"], first["level"]) == ("ended", "docs", 1.5, "info")
    assert first["process"] == os.getpid()
    assert second["event"] == "connection lost"
    names = [path.name for path in (tmp_path / "logs").iterdir()]
    assert names == [f"geometra-backup-{datetime.now(UTC):%Y-%m-%d}.log"]


def test_a_traceback_is_one_line_with_the_rest(tmp_path: Path) -> None:
    log_files.set_up(tmp_path, console=False)
    try:
        raise ValueError("odd\nvalue")
    except ValueError:
        structlog.get_logger("tasks.step").exception("unexpected error", run="run-1")
    (line,) = lines(tmp_path)
    assert "Traceback" in line["exception"]
    assert line["run"] == "run-1"


def test_the_file_has_information_whatever_the_console_shows(tmp_path: Path) -> None:
    log_files.set_up(tmp_path, level="WARNING", console=False)
    structlog.get_logger("workers").info("started")
    assert [line["event"] for line in lines(tmp_path)] == ["started"]


def test_a_new_day_is_a_new_file_and_old_ones_go(tmp_path: Path) -> None:
    today = datetime.now(UTC)
    for days in (0, 1, 29, 30, 31, 400):
        (tmp_path / f"geometra-backup-{today - timedelta(days=days):%Y-%m-%d}.log").touch()
    (tmp_path / "console.log").touch()
    handler = DailyFile(tmp_path, keep_days=30)
    handler.emit(record("a line"))
    handler.close()
    assert len(list(tmp_path.glob("geometra-backup-*.log"))) == 4
    assert (tmp_path / "console.log").exists()


def _write(folder: Path, word: str) -> None:
    handler = DailyFile(folder)
    for number in range(300):
        handler.emit(record(f"{word} {number} " + word * 200))
    handler.close()


def test_processes_that_write_at_once_tear_no_line(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path, word)) for word in ("one", "two", "six")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    (file,) = tmp_path.iterdir()
    whole = file.read_text().splitlines()
    assert len(whole) == 900
    assert set(whole) == {f"{w} {n} " + w * 200 for w in ("one", "two", "six") for n in range(300)}


def test_a_handler_that_was_made_before_a_fork_writes_after_it(tmp_path: Path) -> None:
    handler = DailyFile(tmp_path)
    handler.emit(record("parent"))
    child = os.fork()
    if child == 0:
        handler.emit(record("child"))
        os._exit(0)
    os.waitpid(child, 0)
    handler.close()
    (file,) = tmp_path.iterdir()
    assert file.read_text() == "parent\nchild\n"


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    DailyFile(tmp_path / "logs").emit(record("lost"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://user:pa55@host:6379/0", "redis://***@host:6379/0"),
        ("Connected to redis://:pa55@host/0.", "Connected to redis://***@host/0."),
        ("two: amqp://a:b@c rediss://d:e@f", "two: amqp://***@c rediss://***@f"),
        ("https://host:8080/path", "https://host:8080/path"),
        ("mail me@host: now", "mail me@host: now"),
    ],
)
def test_the_password_of_an_url_is_never_written(text: str, shown: str) -> None:
    assert redact(None, "", {"event": text, "seconds": 1}) == {"event": shown, "seconds": 1}


def test_the_password_of_an_url_in_a_traceback_is_never_written(tmp_path: Path) -> None:
    log_files.set_up(tmp_path, console=False)
    try:
        raise ConnectionError("cannot reach redis://:pa55word@host:6379/0")
    except ConnectionError:
        structlog.get_logger("tasks.step").exception("unexpected error")
    assert "pa55word" not in str(lines(tmp_path))

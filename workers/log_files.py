"""Where log lines go: to the console for a person, and to a dated file as JSON that several processes share."""

from __future__ import annotations

import logging
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

KEEP_DAYS = 30
_NAME = "geometra-backup-{:%Y-%m-%d}.log"
_PASSWORD = re.compile(r"(?<=://)[^\s/@\"']*:[^\s@\"']*(?=@)")
_QUIET = ("celery.app.trace", "celery.worker.strategy", "celery.redirected", "kombu", "amqp", "urllib3", "botocore")
"""Loggers whose information repeats ours, or quotes arguments."""


def redact(_: Any, __: str, event: EventDict) -> EventDict:
    """A second fence: no URL's password passes, whoever logged it."""
    return {key: _PASSWORD.sub("***", value) if isinstance(value, str) else value for key, value in event.items()}


class DailyFile(logging.Handler):
    """Appends each line with one write, so that processes can share the file; a new file each day (UTC), and those
    older than `keep_days` go. A full disk never stops a backup: the line is lost, and the console still has it."""

    def __init__(self, folder: Path, keep_days: int = KEEP_DAYS) -> None:
        super().__init__()
        self._folder, self._keep = folder, timedelta(days=keep_days)
        self._name, self._file, self._process = "", -1, 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).replace("\n", "\\n") + "\n"
            os.write(self._open(datetime.now(UTC)), line.encode("utf-8", "backslashreplace"))
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Says nothing: logging's own prints a traceback for each line."""

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        super().close()

    def _open(self, now: datetime) -> int:
        name = _NAME.format(now)
        if name != self._name:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if self._file >= 0:
                os.close(self._file)
            self._name, self._file = name, file
            self._remove_old(now)
        return self._file

    def _remove_old(self, now: datetime) -> None:
        oldest = _NAME.format(now - self._keep)
        for path in self._folder.glob("geometra-backup-????-??-??.log"):
            if path.name < oldest:
                path.unlink(missing_ok=True)


def set_up(folder: Path, level: int | str = "INFO", console: bool = True) -> None:
    """For a process that works: `structlog` and the standard library's loggers to both places. The file has at least
    what is information, whatever the `level` of the console."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handlers: list[logging.Handler] = [DailyFile(folder)]
    handlers[0].setFormatter(_formatter(shared, _with_process, structlog.processors.JSONRenderer()))
    if console:
        handlers.append(logging.StreamHandler(sys.stderr))
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        handlers[1].setFormatter(_formatter(shared, renderer))
        handlers[1].setLevel(level)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(min(logging.INFO, logging.getLevelNamesMapping()[level] if isinstance(level, str) else level))
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _formatter(shared: list[Processor], *last: Processor) -> logging.Formatter:
    final = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    return structlog.stdlib.ProcessorFormatter(processors=final, foreign_pre_chain=shared)


def _with_process(_: Any, __: str, event: EventDict) -> EventDict:
    return {**event, "process": os.getpid()}

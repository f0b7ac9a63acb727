"""What Celery's signals become in the log."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery.exceptions import Ignore
from structlog.testing import capture_logs

from workers.signals import _ended


@pytest.mark.parametrize(
    ("state", "said", "level"),
    [("SUCCESS", "ended", "info"), ("RETRY", "waits", "info"), ("IGNORED", "handed on", "info")]
    + [(state, "failed", "error") for state in ("FAILURE", "REJECTED")],
)
def test_only_what_failed_is_told_as_failed(state: str, said: str, level: str) -> None:
    value = {"state": "done"} if state == "SUCCESS" else Ignore()
    with capture_logs() as logs:
        _ended("1", SimpleNamespace(name="backup.docs"), kwargs={"source": "docs"}, retval=value, state=state)
    (line,) = logs
    assert (line["event"], line["log_level"], line["source"]) == (said, level, "docs")

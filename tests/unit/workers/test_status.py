"""What `status` asks of destinations that do not answer."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from tasks.configuration import parse
from workers.cli.status import hasty

TEXT = """
[sources.docs]
kind = "docs"
paths = ["docs"]
[destinations.disk]
kind = "local"
path = "disk"
[destinations.far]
kind = "s3"
bucket = "far-away"
default_credentials = true
[destinations.near]
kind = "s3"
bucket = "near"
default_credentials = true
deadline = "5s"
"""


def test_a_destination_that_does_not_answer_is_given_up_within_a_minute_or_sooner(tmp_path: Path) -> None:
    settings = parse(TEXT, tmp_path / "backup.toml")
    asked: dict[str, Any] = dict(hasty(settings).destinations)
    assert asked["disk"] == settings.destinations["disk"]
    assert (asked["far"].deadline, asked["near"].deadline) == (timedelta(minutes=1), timedelta(seconds=5))
    assert asked["far"].bucket == "far-away"

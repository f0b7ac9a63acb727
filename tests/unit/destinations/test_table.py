"""The table of destinations: what backup.toml can name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from tasks.destinations import DESTINATIONS, open_destination
from tasks.destinations.local import LocalSettings
from tasks.destinations.s3_settings import S3Settings
from tasks.errors import SettingsError
from tasks.settings import DestinationSettings


def test_settings_open_the_destination_of_their_kind(tmp_path: Path) -> None:
    open_destination(LocalSettings(kind="local", path=tmp_path)).put("a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_an_unknown_kind_is_told_those_that_exist() -> None:
    with pytest.raises(SettingsError, match=r"`tape`.*local"):
        open_destination(DestinationSettings(kind="tape"))


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_each_kind_is_named_in_its_settings_as_in_the_table(kind: str) -> None:
    settings = DESTINATIONS[kind].Settings
    assert issubclass(settings, DestinationSettings)
    assert get_args(settings.model_fields["kind"].annotation) == (kind,)


def test_reading_the_table_loads_no_sdk() -> None:
    script = "import sys, tasks.destinations; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "tasks.destinations.local" in modules
    tops = {module.partition(".")[0] for module in modules} | {".".join(module.split(".")[:2]) for module in modules}
    assert not tops & {"boto3", "botocore", "azure", "google.cloud", "google.auth", "requests", "urllib3"}


@pytest.mark.parametrize(
    "endpoint", ["http://host:99999", "http://host:port", "http://[::1", "http://ü.example", "http://a b"]
)
def test_an_address_that_nobody_can_have_is_no_setting(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="use a URL such as"):
        S3Settings(bucket="backups", endpoint=endpoint, default_credentials=True)

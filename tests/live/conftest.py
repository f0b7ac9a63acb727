"""The clouds themselves, as the file that GEOMETRA_BACKUP_LIVE names says; without it every test here skips.

Its tables are `[CLOUD.ROLE]`, CLOUD being s3, azure or gcs, and ROLE owner (may do everything), writer, pruner or
reader (have what `geometra-backup policy` shows). Each holds the options of a destination, without `kind`.
`[CLOUD.locked]` is a bucket that is made for locks, with an owner's credentials. Objects go below a new prefix each
time and are left there: give the buckets a rule that drops everything after some days.
"""

from __future__ import annotations

import os
import secrets
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.configuration.kinds import destination_kinds
from tasks.destinations.remote import RemoteSettings

VARIABLE = "GEOMETRA_BACKUP_LIVE"


@pytest.fixture(params=["s3", "azure", "gcs"])
def cloud(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def live(cloud: str) -> Callable[..., RemoteSettings]:
    """The settings of a role at the cloud of this test, with other options where a test names some; or it skips."""
    file = os.environ.get(VARIABLE)
    if not file:
        pytest.skip(f"{VARIABLE} names no file: see tests/live/conftest.py")
    tables: dict[str, dict[str, Any]] = tomllib.loads(Path(file).read_text()).get(cloud, {})
    prefix = f"live/{secrets.token_hex(6)}"

    def found(role: str, **options: Any) -> RemoteSettings:
        if role not in tables:
            pytest.skip(f"{file} has no [{cloud}.{role}]")
        settings = destination_kinds()[cloud].model_validate({"prefix": prefix, **tables[role], **options})
        assert isinstance(settings, RemoteSettings)
        return settings

    return found

"""One server of each kind for all tests that need one; a conftest.py imports them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.stores.azure import AzureServer, azure_server
from tests.stores.gcs import GcsServer, gcs_server
from tests.stores.rgw import RgwServer, rgw_server
from tests.stores.s3 import S3Server, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory, require: Callable[[str], str]) -> Iterator[AzureServer]:
    with azure_server(tmp_path_factory.mktemp("azure"), require) as server:
        yield server


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    with gcs_server(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture(scope="session")
def rgw(tmp_path_factory: pytest.TempPathFactory, require: Callable[[str], str]) -> Iterator[RgwServer]:
    with rgw_server(tmp_path_factory.mktemp("rgw"), require) as server:
        yield server

"""One server of each kind for all tests that need one; a conftest.py imports them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stores.s3 import S3Server, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server

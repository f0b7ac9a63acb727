"""A house for each flow, and one broker server for all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.flows.house import House
from tests.redis_process import RedisProcess, redis_process
from tests.stores.fixtures import azure, gcs, s3

__all__ = ["azure", "gcs", "house", "s3", "shared_broker"]


@pytest.fixture(scope="session")
def shared_broker() -> Iterator[RedisProcess]:
    with redis_process() as server:
        yield server


@pytest.fixture
def house(tmp_path: Path, shared_broker: RedisProcess) -> Iterator[House]:
    with closing(shared_broker.client()) as client:
        client.flushall()
    house = House(tmp_path, shared_broker)
    try:
        yield house
    finally:
        house.close()

"""A house for each flow, and one broker server for all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.flows.house import IMPORTED, House
from tests.flows.nursery import Nursery
from tests.flows.terminal import Terminal
from tests.flows.trees import grow
from tests.redis_process import RedisProcess, redis_process
from tests.stores.fixtures import azure, gcs, rgw, s3

__all__ = ["azure", "gcs", "house", "nursery", "rgw", "s3", "shared_broker"]


@pytest.fixture(scope="session")
def shared_broker() -> Iterator[RedisProcess]:
    with redis_process() as server:
        yield server


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with closing(Nursery(IMPORTED)) as nursery:
        yield nursery


@pytest.fixture
def house(tmp_path: Path, shared_broker: RedisProcess, nursery: Nursery) -> Iterator[House]:
    with closing(shared_broker.client()) as client:
        client.flushall()
    house = House(tmp_path, shared_broker, nursery=nursery)
    try:
        yield house
    finally:
        house.close()


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """An installation made by `init`, after one night; the tests leave it as it is."""
    folder = tmp_path_factory.mktemp("home")
    for name, seed in (("config", 1), ("docs", 2)):
        (folder / name).mkdir()
        grow(folder / name, seed=seed)
    terminal = Terminal(folder)
    terminal.run("init", "--recovery-sheet", "sheet.txt")
    terminal.run("run")
    return terminal


@pytest.fixture
def copied(lived: Terminal, tmp_path: Path) -> Terminal:
    """The same installation, to be spoilt."""
    folder = tmp_path / "home"
    shutil.copytree(lived.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
    return Terminal(folder)

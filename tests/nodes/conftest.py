"""pytest-celery's setup over processes; over containers with GEOMETRA_BACKUP_TEST_NODES=docker, which needs an engine.

Its plugin is not loaded for the other tests (pyproject.toml): it takes most of a second of each start, and its
`celery_worker` hides Celery's own. Here its fixtures are imported by name, and its three clusters are replaced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestBackend,
    CeleryTestBroker,
    CeleryTestNode,
    CeleryTestSetup,
    CeleryWorkerCluster,
    celery_backend_cluster_config,
    celery_broker_cluster_config,
    celery_setup,
    celery_setup_cls,
    celery_setup_config,
    celery_setup_name,
    celery_worker_cluster_config,
)

from tests.flows.house import House
from tests.nodes.process_nodes import BrokerProcess, WorkerProcess
from tests.redis_process import redis_process

IN_CONTAINERS = os.environ.get("GEOMETRA_BACKUP_TEST_NODES") == "docker"

if IN_CONTAINERS:
    from tests.nodes.docker_nodes import *  # noqa: F403

__all__ = [
    "celery_backend_cluster_config",
    "celery_broker_cluster_config",
    "celery_setup",
    "celery_setup_cls",
    "celery_setup_config",
    "celery_setup_name",
    "celery_worker_cluster_config",
]


@dataclass
class Address:
    """All that a house needs of a broker that is no child of the test."""

    url: str


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config.option, "reuse_containers"):  # an option of a plugin that is not loaded
        config.option.reuse_containers = False


@pytest.fixture
def broker_node(request: pytest.FixtureRequest) -> Iterator[CeleryTestNode]:
    if IN_CONTAINERS:
        yield request.getfixturevalue("celery_redis_broker")
        return
    with redis_process() as server:
        yield CeleryTestBroker(BrokerProcess(server))


@pytest.fixture
def house(tmp_path: Path, broker_node: CeleryTestNode) -> Iterator[House]:
    server: Any = Address(broker_node.config()["host_url"]) if IN_CONTAINERS else broker_node.container._server
    with closing(House(tmp_path, server)) as house:
        yield house


@pytest.fixture
def celery_broker_cluster(broker_node: CeleryTestNode) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(broker_node)


@pytest.fixture
def celery_backend_cluster(broker_node: CeleryTestNode) -> CeleryBackendCluster:
    """The same server: it keeps the results too."""
    return CeleryBackendCluster(CeleryTestBackend(broker_node.container))


@pytest.fixture
def celery_worker_cluster(request: pytest.FixtureRequest, house: House) -> Iterator[CeleryWorkerCluster]:
    """One worker of every pool; it waits for the test to write its configuration."""
    request.getfixturevalue("configured")
    made = request.getfixturevalue("geometra_worker") if IN_CONTAINERS else WorkerProcess(house)
    cluster = CeleryWorkerCluster(CeleryTestNode(made))
    yield cluster
    for node in cluster:
        node.teardown()


@pytest.fixture
def celery_setup_app(celery_setup_config: dict[str, Any], celery_setup_name: str) -> Iterator[Celery]:
    with closing(CeleryTestSetup.create_setup_app(celery_setup_config, celery_setup_name)) as app:
        yield app

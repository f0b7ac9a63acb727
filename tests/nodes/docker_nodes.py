"""Nodes of pytest-celery that are containers: its own Redis, and a worker of docker-compose.yml's image, which sees
the test's folder and this checkout at the paths that these have here. They need an engine, and were written without."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytest_celery import CeleryWorkerContainer, default_pytest_celery_network
from pytest_celery.vendors.redis.broker.fixtures import (
    celery_redis_broker,
    default_redis_broker,
    default_redis_broker_cls,
    default_redis_broker_command,
    default_redis_broker_env,
    default_redis_broker_image,
    default_redis_broker_ports,
)
from pytest_docker_tools import container, fxtr
from pytest_docker_tools.plugin import docker_client

from tests.flows.house import ROOT, House

__all__ = [
    "celery_redis_broker",
    "default_pytest_celery_network",
    "default_redis_broker",
    "default_redis_broker_cls",
    "default_redis_broker_command",
    "default_redis_broker_env",
    "default_redis_broker_image",
    "default_redis_broker_ports",
    "docker_client",
    "geometra_environment",
    "geometra_image",
    "geometra_volumes",
    "geometra_worker",
]


class GeometraContainer(CeleryWorkerContainer):  # type: ignore[misc]  # it has no types
    """A worker that is there as soon as its container is: the tests wait for what it does."""

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {}

    @property
    def ready_prompt(self) -> str | None:
        return None


@pytest.fixture(scope="session")
def geometra_image(docker_client: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The image of docker-compose.yml."""
    build = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["x-image"]["build"]
    dockerfile = tmp_path_factory.mktemp("image") / "Dockerfile"
    dockerfile.write_text(build["dockerfile_inline"])
    image, _ = docker_client.images.build(
        path=str(ROOT), dockerfile=str(dockerfile), tag="geometra-backup:test", rm=True
    )
    return image


@pytest.fixture
def geometra_environment(house: House, celery_redis_broker: Any) -> dict[str, str]:
    """As on the host, but for the broker's address."""
    own = {"GEOMETRA_BACKUP_BROKER": celery_redis_broker.config()["url"], "PYTHONPATH": str(ROOT), "HOME": "/tmp"}  # noqa: S108
    return house.environment | own


@pytest.fixture
def geometra_volumes(house: House) -> dict[str, dict[str, str]]:
    def as_here(path: Path, mode: str) -> dict[str, dict[str, str]]:
        return {str(path): {"bind": str(path), "mode": mode}}

    return as_here(house.folder, "rw") | as_here(ROOT, "ro")


geometra_worker = container(
    image="{geometra_image.id}",
    command=["celery", "-A", "workers", "worker", "--concurrency", "2", "--without-gossip", "--without-mingle"],
    environment=fxtr("geometra_environment"),
    volumes=fxtr("geometra_volumes"),
    working_dir=str(ROOT),
    user=f"{os.getuid()}:{os.getgid()}",
    network="{default_pytest_celery_network.name}",
    wrapper_class=GeometraContainer,
    timeout=60,
)

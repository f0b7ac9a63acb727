"""docker-compose.yml keeps its promises: a service for each pool, with its keys alone; confined, watched, limited.

What needs a Docker engine is not tried here: that the images are built and pulled, and that the samples (`app-...`) run
as this user on a read-only file system. tests/flows/test_compose.py runs the commands themselves.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.configuration import parse, problems
from workers.pools import POOLS, Pool
from workers.signals import HEARTBEAT

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
TOML: str = COMPOSE["configs"]["backup_toml"]["content"]
HOST = tomllib.loads(TOML)["host"]
PASSPHRASE = "/run/secrets/passphrase"
WRITER = {"/run/secrets/writer.key", "/run/secrets/keyring.json"}
READER = {PASSPHRASE, "/run/secrets/keyring.json"}
KEYS: dict[str, set[str]] = {"none": set(), "writer": WRITER, "reader": READER}

by_pool = pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool.name)
by_service = pytest.mark.parametrize("name", SERVICES)


def secrets(service: dict[str, Any]) -> set[str]:
    """Where a service finds its secrets."""
    found = service.get("secrets", [])
    return {f"/run/secrets/{each}" if isinstance(each, str) else each["target"] for each in found}


def volumes(service: dict[str, Any]) -> list[tuple[str, str]]:
    """The name of each, as it is where the environment names no folder instead, and where it is mounted."""
    texts = [re.sub(r"^\$\{\w+:-(\w+)\}", r"\1", each) for each in service.get("volumes", [])]
    return [(text.split(":")[0], text.split(":")[1]) for text in texts]


def option(service: dict[str, Any], name: str) -> str:
    command: list[str] = service["command"]
    return command[command.index(name) + 1]


def seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)s", text)
    assert found, text
    return int(found[1])


def workers() -> dict[str, dict[str, Any]]:
    return {name: service for name, service in SERVICES.items() if "worker" in service.get("command", [])}


def test_each_pool_has_exactly_one_service() -> None:
    assert sorted(workers()) == sorted(pool.name for pool in POOLS)
    assert len({option(service, "-n") for service in workers().values()}) == len(POOLS)


@by_pool
def test_the_worker_of_a_pool_serves_its_queues_and_no_others(pool: Pool) -> None:
    service = SERVICES[pool.name]
    assert service["command"][:4] == ["celery", "-A", "workers", "worker"]
    assert tuple(option(service, "-Q").split(",")) == pool.queues(HOST)
    assert int(option(service, "-c")) == pool.concurrency


@by_pool
def test_a_pool_holds_the_keys_that_the_table_says(pool: Pool) -> None:
    assert secrets(SERVICES[pool.name]) & (WRITER | READER) == KEYS[pool.keys]
    assert "/run/secrets/broker" in secrets(SERVICES[pool.name])


def test_the_passphrase_is_where_it_is_needed_and_with_a_person() -> None:
    holders = {name for name, service in SERVICES.items() if PASSPHRASE in secrets(service)}
    assert holders == {pool.name for pool in POOLS if pool.keys == "reader"} | {"console"}


@by_pool
def test_a_stopped_worker_has_the_time_to_hand_back_its_task(pool: Pool) -> None:
    service = SERVICES[pool.name]
    soft = re.search(r"^worker_soft_shutdown_timeout = ([\d.]+)$", (ROOT / "celeryconfig.py").read_text(), re.MULTILINE)
    assert soft
    assert service["environment"]["REMAP_SIGTERM"] == "SIGQUIT"
    assert seconds(service["stop_grace_period"]) >= 2 * float(soft[1])
    assert service["environment"][HEARTBEAT] in service["healthcheck"]["test"][1]


@by_service
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["read_only"] is True
    assert any(each.startswith("/tmp:") for each in service["tmpfs"])  # noqa: S108 - in the container
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert "privileged" not in service


@by_service
def test_every_service_is_watched_and_limited(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory", "pids"}
    if name == "console":
        assert service["healthcheck"] == {"disable": True}
        assert service["restart"] == "no"
    else:
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert service["restart"] == "unless-stopped"


@by_service
def test_what_a_service_refers_to_is_there(name: str) -> None:
    service = SERVICES[name]
    for each in service.get("secrets", []):
        assert (each if isinstance(each, str) else each["source"]) in COMPOSE["secrets"]
    assert {source for source, _ in volumes(service)} <= set(COMPOSE["volumes"])
    assert set(service.get("networks", [])) <= set(COMPOSE["networks"])
    assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_there_is_one_image_of_ours_and_it_has_no_root() -> None:
    ours = [service for service in SERVICES.values() if "build" in service]
    assert len({service["image"] for service in ours}) == 1
    assert {service["image"] for service in SERVICES.values()} - {ours[0]["image"]} == {
        SERVICES["app-postgres"]["image"],
        SERVICES["app-chroma"]["image"],
    }
    made = ours[0]["build"]["dockerfile_inline"]
    assert made.rstrip().endswith(f"USER {ours[0]['user']}")
    assert "--require-hashes" in made
    written = {target for service in ours for _, target in volumes(service)} - {"/srv/geometra"}
    assert all(folder in made for folder in written), "a volume belongs to root unless the image has its folder"


def test_what_the_image_is_made_of_is_sent_to_the_builder_and_no_secret() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert allowed == {
        "LICENSE", "README.md", "celeryconfig.py", "pyproject.toml", "requirements.lock", "tasks", "workers",
    }  # fmt: skip
    assert all((ROOT / name).exists() for name in allowed)


def test_the_samples_start_only_where_they_are_asked_for_and_reach_no_broker() -> None:
    samples = {name for name, service in SERVICES.items() if service.get("profiles") == ["app"]}
    assert samples == {"app-redis", "app-postgres", "app-chroma"}
    assert all(SERVICES[name]["networks"] == ["app"] for name in samples)
    assert SERVICES["broker"].get("networks", ["default"]) == ["default"]
    for name in ("databases", "vectors", "restore"):
        assert set(SERVICES[name]["networks"]) == {"default", "app"}


def test_nothing_is_reached_from_elsewhere_and_flower_asks_for_a_login() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"flower"}
    assert SERVICES["flower"]["ports"] == ["127.0.0.1:5555:5555"]
    login = SERVICES["flower"]["environment"]["GEOMETRA_BACKUP_FLOWER_LOGIN"]
    assert login.removeprefix("file:") in secrets(SERVICES["flower"])


def test_the_configuration_loads_and_finds_its_secrets_where_they_are(tmp_path: Path) -> None:
    settings = parse(TOML, tmp_path / "backup.toml")
    assert {source.kind for source in settings.sources.values()} == {"docs", "redis", "postgres", "chroma"}
    assert [problem.what for problem in problems(settings) if problem.fatal] == []
    referred = set(re.findall(r"file:(/\S+?)\"", TOML))
    assert referred <= secrets(SERVICES["console"])
    assert str(settings.keys.folder) == "/run/secrets"
    assert str(settings.broker) == "file:/run/secrets/broker"
    for name, source in settings.sources.items():
        address = str(getattr(source, "url", ""))
        assert not address or any(service in address for service in SERVICES if service.startswith("app-")), name


def test_every_secret_is_a_file_and_none_is_in_an_environment() -> None:
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASS|SECRET|TOKEN|LOGIN|BROKER", name):
                assert value.removeprefix("file:").startswith("/run/secrets/")

"""Flower beside a real worker: what each task works on and how far it is, our metrics, and no secret; with a login."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.house import House
from tests.flows.test_night import assert_restores, local, originals_of, tree
from tests.free_port import free_port
from tests.redis_process import redis_process
from tests.repositories import PASSPHRASE, keys

PASSWORD, LOGIN = "of-the-broker-7613", "operator:of-flower-9025"


class Flower:
    def __init__(self, port: int) -> None:
        self.port = port
        self.said: list[str] = []

    def page(self, path: str, login: str = LOGIN) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if login:
            request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - ours
                code, text = int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                code, text = error.code, error.read().decode()
        self.said.append(text)
        return code, text

    def is_up(self) -> bool:
        try:
            return self.page("/healthcheck", login="")[0] == 200
        except OSError:
            return False

    def workers(self) -> dict[str, bool]:
        """Whether each worker that was heard of by its events is there."""
        code, text = self.page("/api/workers?status=true")
        assert code == 200
        heard: dict[str, bool] = json.loads(text)
        return heard

    def tasks(self) -> dict[str, dict[str, Any]]:
        """The last task of each name."""
        code, text = self.page("/api/tasks")
        assert code == 200
        found = sorted(json.loads(text).values(), key=lambda task: task["received"] or 0)
        return {task["name"]: task for task in found}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[House]:
    """A house whose broker asks for a password."""
    with redis_process("--bind", "127.0.0.1", port=free_port(), password=PASSWORD) as server:
        house = House(tmp_path, server)
        try:
            yield house
        finally:
            house.close()


def test_flower_shows_what_each_task_works_on_and_how_far_it_is_and_no_secret(guarded: House) -> None:
    house = guarded
    gate = house.folder / "gate"
    gate.touch()
    original = tree(house, "gated", "docs", large=9_000_000)
    (original["paths"][0] / "zzz gate").write_text("last")
    house.configure({"docs": original | {"gate": gate}}, {"here": local(house)}, {"nightly": {}})
    login = house.folder / "login"
    login.write_text(LOGIN + "\n")
    flower = Flower(free_port())
    house.worker()
    house.flower(flower.port, GEOMETRA_BACKUP_FLOWER_LOGIN=f"file:{login}", GEOMETRA_BACKUP_METRICS_SECONDS="0.2")
    house.wait_for(flower.is_up, "Flower")
    for wrong in ("", "operator:wrong"):
        assert flower.page("/api/tasks", login=wrong)[0] == 401

    name = f"worker0@{house.host}"
    house.wait_for(lambda: flower.workers().get(name), "the worker in Flower, which listens from then on")
    run = house.start("nightly")
    house.wait_for(gate.with_suffix(".reached").exists, "the gate")
    shown = house.wait_for(
        lambda: (task := flower.tasks().get("backup.gated")) and task["state"] == "PROGRESS" and task, "the progress"
    )
    assert "B" in shown["result"]
    assert {"'source': 'docs'", f"'run': '{run}'"} == set(shown["kwargs"].strip("{}").split(", "))
    gate.unlink()

    report = house.report(run)
    assert report["state"] == "done", report["failures"]
    done = house.wait_for(
        lambda: (
            "report" in (found := flower.tasks())
            and {task["state"] for task in found.values()} == {"SUCCESS"}
            and found
        ),
        "the end of every task",
    )
    for task in ("upload", "verify", "prune"):
        assert "'source': 'docs'" in done[task]["kwargs"]
        assert "'destination': 'here'" in done[task]["kwargs"]
        assert f"'run': '{run}'" in done[task]["kwargs"]

    told = house.wait_for(
        lambda: (
            'last_run_success{destination="here",source="docs"} 1.0' in (text := flower.page("/metrics", "")[1])
            and text
        ),
        "our metrics",
    )
    assert 'geometra_backup_last_proven_timestamp_seconds{destination="here",source="docs"}' in told
    assert 'geometra_backup_pool_served{pool="proof"} 1.0' in told
    assert "flower_worker_online" in told

    for path in ("/tasks", "/workers", "/broker", "/api/workers?refresh=1", f"/api/task/info/{done['verify']['uuid']}"):
        assert flower.page(path)[0] == 200
    for path in (f"/worker/{name}", f"/task/{done['verify']['uuid']}"):
        assert flower.page(path)[0] == 200
    secrets = (PASSWORD, LOGIN.split(":")[1], PASSPHRASE, keys().writer.to_text().strip())
    everything = "".join(flower.said)
    assert name in everything
    assert [secret for secret in secrets if secret in everything] == []
    assert_restores(house, originals_of(house, "docs"))

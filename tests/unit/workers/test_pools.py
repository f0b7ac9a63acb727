"""Which pool serves what: every task has one, and every queue is served."""

from __future__ import annotations

import pytest
from celery import Celery

import tasks.late
import tasks.plan
import tasks.restore
import tasks.tend  # noqa: F401 - for the tasks that they make
from tasks.asked import QUEUE
from tasks.sources.kinds import SOURCES
from workers.pools import POOLS, pool_of, queues, route


def test_every_task_of_the_app_has_a_pool() -> None:
    app = Celery("names", set_as_current=False)
    app.finalize()
    ours = [name for name in app.tasks if not name.startswith(("celery.", "pytest_celery."))]
    assert {"plan.start", "runs.join", "runs.close", "plan.tend", "spool.tend", "upload", "verify", "prune"} < set(ours)
    assert {"restore", "report", *(f"backup.{kind}" for kind in SOURCES)} < set(ours)
    assert [name for name in ours if pool_of(name) is None] == []


def test_every_kind_of_source_has_a_pool_that_holds_no_private_key() -> None:
    for kind in SOURCES:
        pool = pool_of(f"backup.{kind}")
        assert pool
        assert pool.keys == "writer"


def test_models_do_not_hold_up_the_other_files() -> None:
    assert route("backup.models") == {"queue": "models"}
    assert route("backup.config") == route("backup.kind-of-tomorrow") == {"queue": "files"}


def test_only_proof_drill_and_restore_hold_the_private_key() -> None:
    assert [pool.name for pool in POOLS if pool.keys == "reader"] == ["proof", "drill", "restore"]
    assert route("verify") == route("prune") == {"queue": "proof"}
    assert route("drill") == {"queue": "drill"}
    assert route("restore") == route("restore.part") == {"queue": "restore"}


def test_an_upload_goes_to_the_host_that_captured_and_so_does_its_retry() -> None:
    captured = {"verb": "backup", "host": "gpu-1"}
    assert route("upload", [captured], {"source": "models"}) == {"queue": "transfer.gpu-1"}
    assert route("upload", (captured,), {}, {}, task=None) == {"queue": "transfer.gpu-1"}
    assert route("upload", [], {"source": "models"}) == {"queue": "transfer"}
    assert route("verify", [captured], {}) == {"queue": "proof"}


def test_other_applications_tasks_are_left_alone() -> None:
    assert route("celery.ping") is None
    assert route("render.scene") is None


def test_the_queues_of_all_pools_hold_every_queue_that_is_routed_to() -> None:
    everything = set(queues("gpu-1"))
    assert {
        "databases",
        "vectors",
        "models",
        "files",
        "transfer",
        "transfer.gpu-1",
        "proof",
        "drill",
        "restore",
        "control",
    } == everything
    assert queues("gpu-1", ["transfer"]) == ("transfer", "transfer.gpu-1")
    with pytest.raises(ValueError, match="there is no pool `transfers`"):
        queues("gpu-1", ["transfers"])


def test_what_other_applications_ask_for_is_answered_where_no_key_is_held() -> None:
    pools = [pool_of(name) for name in ("plan.start", "runs.state")]
    assert [(pool.name, pool.keys) for pool in pools if pool] == [(QUEUE, "none")] * 2

"""Restores into a Redis in processes of their own, to be killed at some moment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from unittest import mock

import pytest

from tasks.errors import BackupError
from tasks.sources.redis import Redis, RedisTarget
from tasks.sources.redis_store import large_keys, restoring, writing
from tasks.sources.redis_store.mark import Mark
from tasks.sources.source import Restoring
from tests.contracts.memory_items import Saved
from tests.redis_process import RedisProcess

RUN = Restoring(run="the-run")


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there are many moments to be killed at, in large keys too."""
    monkeypatch.setattr(Mark, "MOST", 20)
    monkeypatch.setattr("tasks.sources.redis_store.walk.LARGE", 5_000)
    monkeypatch.setattr(restoring, "_PIECE", 7_000)
    monkeypatch.setattr(large_keys, "_BATCH", 2_000)


def begun(restore: Callable[[], object]) -> int:
    """A process that restores, and leaves with 0 once it has."""
    child = os.fork()
    if child:
        return child
    try:
        restore()
    except BackupError:
        os._exit(1)
    except BaseException:  # noqa: BLE001 - nothing of the test may go on in this process
        os._exit(2)
    os._exit(0)


def killed(restore: Callable[[], object], seconds: float) -> int | None:
    """How it ended of itself; None where it was killed after that time."""
    child, deadline = begun(restore), time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else None


def slowly(restore: Callable[[], object]) -> Callable[[], object]:
    """With a pause after each step, so that a busy machine sees it in the middle."""
    send = writing.Writer._send

    def paused(writer: writing.Writer) -> None:
        send(writer)
        time.sleep(0.01)

    def run() -> object:
        with mock.patch.object(writing.Writer, "_send", paused):
            return restore()

    return run


def cut_off(server: RedisProcess, restore: Callable[[], object], *, least: int) -> None:
    """A restore, killed once the server has so many keys."""
    child = begun(slowly(restore))
    with server.client() as client:
        while sum(each["keys"] for each in client.info("keyspace").values()) < least:
            time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it was done before it was killed"


def restoring_from(source: Redis, saved: Saved, target: RedisTarget, how: Restoring = RUN) -> Callable[[], list[str]]:
    return lambda: source.restore_into(saved, saved, target, how)


def names(server: RedisProcess, pattern: str = "geometra-restore:*") -> list[str]:
    with server.client() as client:
        return sorted(client.keys(pattern))

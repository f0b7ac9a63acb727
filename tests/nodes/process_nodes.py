"""Nodes of pytest-celery that are processes of this machine: they do all that its containers do, without an engine."""

from __future__ import annotations

import signal as signals
from collections.abc import Callable
from typing import Any

from tests.flows.house import House, Worker
from tests.redis_process import RedisProcess


class ProcessContainer:
    """What a node asks of its container. A restart keeps the data, as a container's does."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def id(self) -> str:
        raise NotImplementedError

    @property
    def status(self) -> str:
        """As Docker says it: `running` or `exited`."""
        raise NotImplementedError

    @property
    def celeryconfig(self) -> dict[str, Any]:
        raise NotImplementedError

    def ready(self) -> bool:
        return self.status == "running"

    def logs(self) -> str:
        raise NotImplementedError

    def kill(self, signal: str | int = "SIGKILL") -> None:
        raise NotImplementedError

    def restart(self, timeout: float = 0) -> None:
        raise NotImplementedError

    def reload(self) -> None:
        """There is nothing to be read again: a process is asked when somebody wants to know."""

    def teardown(self) -> None:
        if self.status == "running":
            self.kill()


class BrokerProcess(ProcessContainer):
    def __init__(self, server: RedisProcess) -> None:
        super().__init__("broker")
        self._server = server

    @property
    def id(self) -> str:
        return str(self._server.process)

    @property
    def status(self) -> str:
        return "running" if self._server.is_running else "exited"

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {"url": self._server.url, "host_url": self._server.url}

    def logs(self) -> str:
        return (self._server.folder / "redis.log").read_text()

    def kill(self, signal: str | int = "SIGKILL") -> None:
        self._server.kill(_number(signal))

    def restart(self, timeout: float = 0) -> None:
        self._server.kill(signals.SIGTERM)
        self._server.start()


class WorkerProcess(ProcessContainer):
    """With all its children. `start` starts one."""

    def __init__(self, house: House, start: Callable[[House], Worker] = House.worker) -> None:
        super().__init__("worker")
        self._house, self._start = house, start
        self._worker = start(house)

    @property
    def id(self) -> str:
        return str(self._worker.child.pid)

    @property
    def status(self) -> str:
        return "running" if self._worker.child.poll() is None else "exited"

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {}

    def logs(self) -> str:
        return self._worker.log.read_text(errors="replace")

    def kill(self, signal: str | int = "SIGKILL") -> None:
        self._worker.kill(_number(signal))

    def restart(self, timeout: float = 0) -> None:
        self._worker.stop()
        self._worker = self._start(self._house)


def _number(signal: str | int) -> signals.Signals:
    return signals.Signals[signal] if isinstance(signal, str) else signals.Signals(signal)

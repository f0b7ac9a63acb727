"""A whole installation for a flow: configuration, keys, a real broker, and workers as child processes to be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import redis
from celery import Celery

from tasks.broker import connect
from tasks.configuration import load
from tasks.installation import Installation
from tasks.record import Record
from tests.benchmarks.profile import profiler
from tests.flows import kinds
from tests.flows.nursery import Born, Nursery
from tests.redis_process import RedisProcess
from tests.repositories import PASSPHRASE, keys
from workers.pools import route

ROOT = Path(__file__).parents[2]
Tables = Mapping[str, Mapping[str, Any]]

VISIBILITY, LEASE, WAIT, SILENCE = 3.0, 2.0, 0.5, 4.0
"""Seconds, a fifth or less of the real ones: after a kill a message comes again, its step may be taken over; the first
wait for something that is away; and how long the broker may be silent."""


_CONFIG = "GEOMETRA_BACKUP_CONFIG"
IMPORTED = {
    "GEOMETRA_BACKUP_VISIBILITY_SECONDS": str(VISIBILITY),
    "GEOMETRA_BACKUP_LEASE_SECONDS": str(LEASE),
    "GEOMETRA_BACKUP_WAIT_SECONDS": str(WAIT),
    "GEOMETRA_BACKUP_BROKER_SILENCE_SECONDS": str(SILENCE),
    "CELERY_CONFIG_MODULE": "tests.flows.celeryconfig_with_gates",
}
"""What a worker's modules read of the environment when they are imported."""


class Worker:
    """A `celery` process with all its own children: of a `nursery`, or without one started from nothing. Where others
    see `hidden`, it sees an empty folder."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        nursery: Nursery | None = None,
        hidden: Path | None = None,
    ) -> None:
        self.log = log
        self.child: subprocess.Popen[bytes] | Born
        if nursery and not hidden:
            self.child = Born(nursery, nursery.start(command, environment, log))
            return
        with log.open("ab") as console:
            self.child = subprocess.Popen(
                [*(hiding(hidden) if hidden else ()), sys.executable, "-m", "celery", "-A", "workers", *command],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """To all of it at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, number)
        self.child.wait()

    def stop(self) -> None:
        """A warm shutdown, as a deploy does."""
        self.child.terminate()
        try:
            self.child.wait(30)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not end\n{self._stacks()}\n{self.log.read_text()[-5000:]}") from None
        finally:
            self.kill()

    def _stacks(self) -> str:
        """Where it and its pool's processes are, as far as this machine lets anybody look."""
        command = [profiler(), "dump", "--pid", str(self.child.pid), "--subprocesses"]
        with suppress(OSError, subprocess.TimeoutExpired):
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout
        return ""


class House:
    def __init__(
        self,
        folder: Path,
        broker: RedisProcess,
        *,
        url: str = "",
        host: str = "local",
        nursery: Nursery | None = None,
    ) -> None:
        """`url`: how its workers reach the broker, where that is not the straight way. Of a `nursery` are those that
        are not asked for with more of an environment of their own than another configuration."""
        self._nursery = nursery
        self.folder, self.broker, self.host = folder, broker, host
        self.file = folder / "backup.toml"
        self.environment = {
            _CONFIG: str(self.file),
            "GEOMETRA_BACKUP_BROKER": url or broker.url,
            **IMPORTED,
        }
        self._workers: list[Worker] = []
        self.client: redis.Redis = connect(broker.url)
        self.record = Record(self.client)

    def configure(self, sources: Tables, destinations: Tables, plans: Tables | None = None, **top: str) -> None:
        """Write backup.toml, with what goes to its `top`, and the keys, and make the folders of its destinations."""
        tables: dict[str, Tables] = {"sources": sources, "destinations": destinations, "plans": plans or {}}
        text = f'state = "state"\nhost = "{self.host}"\n'
        text += "".join(f"{key} = {_toml(value)}\n" for key, value in top.items())
        text += '[keys]\nfolder = "keys"\npassphrase = "file:keys/passphrase"\n'
        for noun, named in tables.items():
            for name, options in named.items():
                text += f"[{noun}.{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in options.items())
        for options in destinations.values():
            if "path" in options:
                Path(options["path"]).mkdir(parents=True, exist_ok=True)
        (self.folder / "keys").mkdir(mode=0o700, exist_ok=True)
        keys().put_into(self.folder / "keys")
        (self.folder / "keys/passphrase").write_text(PASSPHRASE)
        (self.folder / "keys/passphrase").chmod(0o600)
        self.file.write_text(text)

    @property
    def installation(self) -> Installation:
        with kinds.registered():
            return Installation(load(self.file))

    @contextmanager
    def configured(self) -> Iterator[Celery]:
        """The real app in this process, for functions that send messages; for one house at a time."""
        settings = {"broker_url": self.broker.url, "task_default_queue": "control", "task_routes": (route,)}
        with (
            mock.patch.dict(os.environ, self.environment),
            kinds.registered(),
            closing(Celery("in the test", set_as_current=True)) as app,
        ):
            app.config_from_object(settings)
            yield app

    def worker(
        self,
        *,
        concurrency: int = 2,
        pool: str = "prefork",
        queues: str = "",
        hidden: Path | None = None,
        **environment: str,
    ) -> Worker:
        """A worker that is on its way up: messages wait for it."""
        name = f"worker{len(self._workers)}@{self.host}"
        command = ["worker", "--concurrency", str(concurrency), "--pool", pool, "--hostname", name]
        command += ["--without-gossip", "--without-mingle", *(["--queues", queues] if queues else [])]
        return self._start(command, environment, hidden)

    def beat(self, **environment: str) -> Worker:
        return self._start(["beat", "--pidfile", ""], environment)

    def flower(self, port: int, *options: str, **environment: str) -> Worker:
        """On loopback, with the settings that it finds by itself."""
        return self._start(["flower", "--address=127.0.0.1", f"--port={port}", *options], environment)

    def _start(self, command: Sequence[str], environment: Mapping[str, str], hidden: Path | None = None) -> Worker:
        log = self.folder / f"console{len(self._workers)}.log"
        nursery = None if environment.keys() - {_CONFIG} else self._nursery
        worker = Worker(command, {**self.environment, **environment}, log, nursery=nursery, hidden=hidden)
        self._workers.append(worker)
        return worker

    @contextmanager
    def app(self) -> Iterator[Celery]:
        """As another application has it: nothing but the broker's URL."""
        with closing(Celery("elsewhere", broker=self.broker.url, backend=self.broker.url)) as app:
            yield app

    def start(self, plan: str = "", **arguments: Any) -> str:
        """Start a run as another application does; its id."""
        with self.app() as app:
            result = app.send_task("plan.start", kwargs={"plan": plan, **arguments}, queue="control")
            return str(result.get(timeout=60)["id"])

    def report(self, run: str, seconds: float = 60) -> dict[str, Any]:
        """The run's report, once it is there."""
        report: dict[str, Any] = self.wait_for(lambda: self.record.report(run), f"the report of {run}", seconds)
        return report

    def night(self, plan: str = "", **arguments: Any) -> dict[str, Any]:
        return self.report(self.start(plan, **arguments))

    def wait_for(self, look: Callable[[], Any], what: str, seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come within {seconds} s\n{self.consoles()}")
            time.sleep(0.05)
        return found

    def consoles(self) -> str:
        """The end of what each of its processes said: what a failure in the middle of thousands of tests leaves."""
        return "\n".join(worker.log.read_text(errors="replace")[-5000:] for worker in self._workers)

    def forget_messages(self) -> None:
        """As a broker does that was killed too soon, but keeps the record: what waits and what is held is gone."""
        for key in self.client.keys("*"):
            if not str(key).startswith("geometra:") and not str(key).startswith("_kombu.binding"):
                self.client.delete(key)

    def log(self) -> list[dict[str, Any]]:
        """Every line of the dated log files."""
        files = sorted((self.folder / "state/logs").glob("geometra-backup-*.log"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        self.client.close()


def hiding(folder: Path) -> list[str]:
    """What to write before a command that is to see an empty folder there. Needs the right to mount."""
    return ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(folder)]


def _toml(value: Any) -> str:
    if isinstance(value, Path):
        return json.dumps(str(value))
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)

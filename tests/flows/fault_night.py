"""A night of all sources on two hosts, in which whatever takes part is killed, stopped and cut off at random moments.

Everything random follows from one seed; how the operating system then schedules the processes does not.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tasks.errors import Unavailable
from tests.flows.house import LEASE, VISIBILITY, House
from tests.flows.line import Line
from tests.flows.nursery import Nursery, runs
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisProcess

SECONDS = 7.0
"""In which the faults begin; about what a night takes that nothing happens to."""
LONGEST = VISIBILITY + LEASE + 1
"""Seconds that something is stopped or away: enough for messages to come again and for leases to run out."""


class Servers(NamedTuple):
    """What is backed up beside files, and the lines by which the workers reach it."""

    redis: RedisProcess
    redis_line: Line
    postgres: PostgresProcess
    postgres_line: Line


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to whom at `at` seconds, and ends so many `seconds` later."""

    at: float
    who: str
    what: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.at:5.2f} s: {self.who} {self.what} for {self.seconds:.2f} s"


@dataclass
class Actor:
    """A process that is started again as often as it ends."""

    nursery: Nursery
    arguments: list[str]
    environment: dict[str, str]
    log: Path
    process: int = field(default=0)

    def start(self) -> None:
        if not self.process:
            self.process = self.nursery.start(self.arguments, self.environment, self.log)

    def kill(self) -> None:
        if self.process:
            self.nursery.kill(self.process)
            self.process = 0

    def end(self, way: signal.Signals, patience: float) -> None:
        """As a deploy does: asked first, killed in the end."""
        deadline = time.monotonic() + patience
        _signal(self.process, way)
        while runs(self.process) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.kill()

    def all(self, way: signal.Signals) -> None:
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process, way)

    def children(self) -> list[int]:
        with suppress(OSError):
            return [int(pid) for pid in Path(f"/proc/{self.process}/task/{self.process}/children").read_text().split()]
        return []


WAYS: dict[str, tuple[str, ...]] = {
    "worker": ("killed", "child killed", "main killed", "stopped", "child stopped", "ended warm", "ended cold"),
    "beat": ("killed", "stopped"),
    "broker": ("killed", "stopped", "cut off", "silent", "forgotten"),
    "redis": ("killed", "stopped", "cut off", "silent"),
    "postgres": ("killed", "stopped", "cut off", "silent"),
}


def schedule(chance: random.Random, workers: int) -> list[Fault]:
    """One to seven faults; workers and the broker are hit more often than what the sources are read from."""
    actors = [f"worker{number}" for number in range(workers)] * 2 + ["broker"] * 3 + ["beat", "redis", "postgres"]
    faults = []
    for _ in range(chance.randint(1, 7)):
        who = chance.choice(actors)
        what = chance.choice(WAYS[who.rstrip("0123456789")])
        faults.append(Fault(chance.uniform(0, SECONDS), who, what, chance.uniform(0.1, LONGEST)))
    return sorted(faults, key=lambda fault: fault.at)


class Night:
    """Three workers on two hosts, `a` with two of them, over one broker; every host has a state folder of its own."""

    def __init__(
        self, seed: int, houses: list[House], *, nursery: Nursery, broker: RedisProcess, line: Line, servers: Servers
    ) -> None:
        self.chance = random.Random(seed)
        self.houses, self._broker, self._line, self._servers = houses, broker, line, servers
        self.actors: dict[str, Actor] = {}
        for number, house in enumerate((houses[0], houses[0], houses[1])):
            log = house.folder / f"console{number}.log"
            command = ["worker", "--concurrency", "2", "--hostname", f"worker{number}@{house.host}"]
            command += ["--without-gossip", "--without-mingle"]
            self.actors[f"worker{number}"] = Actor(nursery, command, house.environment, log)
        log = houses[0].folder / "beat.log"
        self.actors["beat"] = Actor(nursery, ["beat", "--pidfile", ""], houses[0].environment, log)
        self.faults = schedule(self.chance, 3)

    @contextmanager
    def begun(self) -> Iterator[str]:
        """The run's id, with everybody at work; all are killed in the end."""
        try:
            for actor in self.actors.values():
                actor.start()
            yield self.houses[0].start()
        except AssertionError:
            self.cry()
            raise
        finally:
            for actor in self.actors.values():
                actor.all(signal.SIGCONT)
                actor.kill()

    def watch(self) -> None:
        """Start again what has ended by itself, as every supervisor of services does."""
        for actor in self.actors.values():
            if actor.process and not runs(actor.process):
                actor.kill()
                actor.start()

    def reached(self, look: Callable[[], Any], seconds: float) -> Any:
        """What is looked for, or None; the broker may be away."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.watch()
            with suppress(Unavailable):
                if found := look():
                    return found
            time.sleep(0.05)
        return None

    def left(self, look: Callable[[], Any], seconds: float) -> Any:
        """What is still there after so many seconds."""
        deadline = time.monotonic() + seconds
        while (found := look()) and time.monotonic() < deadline:
            self.watch()
            time.sleep(0.05)
        return found

    def cry(self) -> None:
        """Every worker writes the stacks of all its threads to its console, for whoever looks into a failure."""
        for name, actor in self.actors.items():
            if name != "beat":
                _signal(actor.process, signal.SIGUSR1)
        time.sleep(1)

    def suffer(self) -> None:
        """Have the faults happen, and wait for the last one's end."""
        began = time.monotonic()
        waiting = list(self.faults)
        endings: list[tuple[float, Callable[[], None]]] = []
        while waiting or endings:
            now = time.monotonic() - began
            endings.sort(key=lambda ending: ending[0])
            if endings and endings[0][0] <= now:
                endings.pop(0)[1]()
            elif waiting and waiting[0].at <= now:
                fault = waiting.pop(0)
                endings.append((now + fault.seconds, self._strike(fault)))
            else:
                self.watch()
                time.sleep(0.01)
        self._mend()

    def _mend(self) -> None:
        """Several faults of one actor may have overlapped."""
        for line in (self._line, self._servers.redis_line, self._servers.postgres_line):
            line.mend()
        servers: tuple[RedisProcess | PostgresProcess, ...] = (
            self._broker,
            self._servers.redis,
            self._servers.postgres,
        )
        for server in servers:
            server.ensure()
        for actor in self.actors.values():
            actor.all(signal.SIGCONT)
            if not runs(actor.process):
                actor.kill()
            actor.start()

    def _strike(self, fault: Fault) -> Callable[[], None]:
        """Its ending is returned."""
        if fault.who in self.actors:
            return self._strike_actor(self.actors[fault.who], fault)
        servers: dict[str, tuple[RedisProcess | PostgresProcess, Line]] = {
            "broker": (self._broker, self._line),
            "redis": (self._servers.redis, self._servers.redis_line),
            "postgres": (self._servers.postgres, self._servers.postgres_line),
        }
        server, line = servers[fault.who]
        if fault.what == "cut off":
            line.cut()
            return line.mend
        if fault.what == "silent":
            line.silence()
            return line.mend
        if fault.what == "forgotten":
            line.forget()
            return line.mend
        if fault.what == "stopped":
            server.freeze()
            return server.thaw
        server.kill()
        return server.ensure

    def _strike_actor(self, actor: Actor, fault: Fault) -> Callable[[], None]:
        children = actor.children()
        match fault.what:
            case "stopped":
                actor.all(signal.SIGSTOP)
                return lambda: actor.all(signal.SIGCONT)
            case "child killed" if children:
                _signal(self.chance.choice(children), signal.SIGKILL)
                return lambda: None
            case "child stopped" if children:
                child = self.chance.choice(children)
                _signal(child, signal.SIGSTOP)
                return lambda: _signal(child, signal.SIGCONT)
            case "main killed":
                _signal(actor.process, signal.SIGKILL)
                time.sleep(0.3)  # what its children do then is theirs
                actor.kill()
            case "ended warm":
                actor.end(signal.SIGTERM, fault.seconds)
            case "ended cold":
                actor.end(signal.SIGQUIT, fault.seconds)
            case _:
                actor.kill()
        return actor.start


def _signal(process: int, way: signal.Signals) -> None:
    if process:  # 0 would be all of the test's own
        with suppress(ProcessLookupError):
            os.kill(process, way)


def left_in(broker: RedisProcess) -> list[str]:
    """The names of the tasks whose messages wait, or are held; beat's own go on."""
    with closing(broker.client()) as client:
        texts = list(client.hvals("unacked"))
        for key in client.keys("*"):
            if str(key).startswith("geometra:") or client.type(key) != "list":
                continue
            texts += client.lrange(key, 0, -1)
    return [name for name in map(_task_in, map(str, texts)) if name and name not in ("plan.tend", "spool.tend")]


def _task_in(text: str) -> str:
    return text.partition('"task": "')[2].partition('"')[0]


def tables_of(folder: Path) -> dict[str, list[Any]]:
    """Every row of a Chroma folder's own database, but for its full-text index, which a restore builds anew."""
    (file,) = folder.rglob("chroma.sqlite3")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: sorted(map(repr, database.execute(f'SELECT * FROM "{name}"')))  # noqa: S608
            for name in names
            if not re.fullmatch(r".*fulltext_search_(idx|data|docsize)", name)
        }

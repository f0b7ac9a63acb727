"""`python -m tests.benchmarks.orchestration`: what a night costs beside the work in it, and beside plain Celery.

Nights of sources with next to nothing in them, and chains of Celery tasks that do nothing, on one broker, with two
worker processes each, in turns; and the memory of every worker process after them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests import git_sample
from tests.benchmarks.machine import facts
from tests.flows.house import ROOT, House
from tests.flows.trees import grow
from tests.postgres_process import postgres_process, programs
from tests.redis_process import RedisProcess, redis_process

FILES = ("config", "logs", "models", "docs", "test_data")
MOST_SECONDS, MOST_MEGABYTES = 5.0, 250.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Turn(NamedTuple):
    """`cpu`: seconds of the worker with all its processes. `work`: those of them inside the steps."""

    tasks: int
    seconds: float
    cpu: float
    work: float = 0.0

    @property
    def task_ms(self) -> float:
        """What a task costs beside its work."""
        return 1000 * (self.cpu - self.work) / self.tasks


class Measured(NamedTuple):
    nights: list[Turn]
    plain: list[Turn]
    megabytes: list[float]
    """Of each process of the worker: what it has for itself, and its share of what it shares."""


def run(folder: Path, *, nights: int, everything: bool) -> Measured:
    """`everything`: nine sources of nine kinds, else nine folders. The first night is not counted."""
    with redis_process() as broker, ExitStack() as stack:
        house = House(folder, broker)
        stack.callback(house.close)
        # What is timed is no kill: the product's own times.
        for name in [name for name in house.environment if name.endswith("_SECONDS")]:
            del house.environment[name]
        house.configure(_sources(folder, stack, everything), {"here": {"kind": "local", "path": folder / "store"}})
        ours, plain = house.worker().child, stack.enter_context(_plain_worker(folder, broker))
        _night(house, ours.pid)
        _chains(broker, plain.pid)
        found, beside = [], []
        for _ in range(nights):
            found.append(_night(house, ours.pid))
            beside.append(_chains(broker, plain.pid))
        return Measured(found, beside, [_megabytes(pid) for pid in _tree(ours.pid)])


def _sources(folder: Path, stack: ExitStack, everything: bool) -> dict[str, dict[str, Any]]:
    if not everything:
        names = [f"docs{number}" for number in range(9)]
        return {name: {"kind": "docs", "paths": [grow(folder / "in" / name, files=5)]} for name in names}
    found: dict[str, dict[str, Any]] = {
        kind: {"kind": kind, "paths": [grow(folder / "in" / kind, files=5)]} for kind in FILES
    }
    code = git_sample.init(folder / "in" / "code")
    git_sample.commit(code, {"app.py": "print('one')\n"})
    found["code"] = {"kind": "source_code", "repositories": [code]}
    redis, server = stack.enter_context(redis_process()), programs()
    found["cache"] = {"kind": "redis", "url": f"unix://{redis.socket}"}
    if server is None:
        raise SystemExit("there is no PostgreSQL server here (Debian: apt-get install postgresql)")
    found["rows"] = {"kind": "postgres", "url": stack.enter_context(postgres_process(server)).url()}
    from tests.chroma_process import chroma

    chroma("fill", folder / "in" / "vectors")
    found["vectors"] = {"kind": "chroma", "path": folder / "in" / "vectors"}
    return found


@contextmanager
def _plain_worker(folder: Path, broker: RedisProcess) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "celery", "-A", "tests.benchmarks.plain", "worker", "--concurrency", "2"]
    command += ["--without-gossip", "--without-mingle", "--hostname", "plain@bench", "--queues", "plain"]
    os.environ["PLAIN_BROKER"] = broker.url
    with (folder / "plain.log").open("ab") as log:
        child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _night(house: House, worker: int) -> Turn:
    before, began = _cpu(worker), time.monotonic()
    run = house.start()
    report = house.report(run)
    seconds = time.monotonic() - began
    assert report["state"] == "done", report["failures"]
    time.sleep(0.3)  # the last task's own end
    steps = [outcome["figures"] for outcome in report["steps"].values()]
    work = sum(figures["cpu_seconds"] for figures in steps)
    sources = len(report["recovery_point"]["sources"])
    return Turn(len(steps) + sources + 2, seconds, _cpu(worker) - before, work)


def _chains(broker: RedisProcess, worker: int) -> Turn:
    from tests.benchmarks import plain

    plain.app.conf.update(broker_url=broker.url, result_backend=broker.url)
    before, began = _cpu(worker), time.monotonic()
    for result in plain.night(9):
        result.get(timeout=60)
    seconds = time.monotonic() - began
    time.sleep(0.3)
    return Turn(9 * 5, seconds, _cpu(worker) - before)


def _tree(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(int(child) for child in children)]


def _cpu(process: int) -> float:
    """Seconds, of those that have ended too."""
    total = 0
    for pid in _tree(process):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))
    return total / _TICKS


def _megabytes(process: int) -> float:
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(process)


def table(measured: Measured) -> list[str]:
    lines = ["| | tasks | s | CPU s | of it work | ms of CPU a task beside its work |", "|---|---|---|---|---|---|"]
    for name, turns in (("a night of nine sources", measured.nights), ("plain Celery, no-ops", measured.plain)):
        middle = Turn(*(median(values) for values in zip(*turns, strict=True)))
        lines.append(
            f"| {name} | {middle.tasks:.0f} | {middle.seconds:.2f} | {middle.cpu:.2f} | {middle.work:.2f}"
            f" | {middle.task_ms:.1f} |"
        )
    lines.append(f"\nmemory of the worker's processes, MB: {', '.join(f'{each:.0f}' for each in measured.megabytes)}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.orchestration", description=__doc__)
    parser.add_argument("--nights", type=int, default=5, help="of which the median counts")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestration-") as folder:
        measured = run(Path(folder), nights=asked.nights, everything=True)
    print(" · ".join(f"{name}: {value}" for name, value in facts().items()))
    print("\n".join(table(measured)))
    slow = median(turn.seconds for turn in measured.nights) >= MOST_SECONDS
    return 1 if slow or max(measured.megabytes) >= MOST_MEGABYTES else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.benchmarks.takeovers`: how long a step stands still after its worker was lost, with the product's
own times. Each case is a night of its own, with a broker of its own, all at once; none may take longer than a minute.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.flows.house import House, Worker
from tests.flows.trees import grow
from tests.redis_process import redis_process

MOST_SECONDS = 60.0


def _children(worker: Worker) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{worker.child.pid}/task/{worker.child.pid}/children").read_text().split()]


def _child_killed(worker: Worker) -> None:
    for child in _children(worker):
        os.kill(child, signal.SIGKILL)


def _stopped(worker: Worker) -> None:
    os.killpg(worker.child.pid, signal.SIGSTOP)


def _handed_back(worker: Worker) -> None:
    worker.child.send_signal(signal.SIGQUIT)


CASES: dict[str, tuple[Callable[[Worker], None], bool, int]] = {
    # what happens to the worker, whether the one that takes over is of the same host, how often it happens
    "a pool process is killed": (_child_killed, True, 1),
    "a worker is killed with all its processes, beside another of its host": (Worker.kill, True, 1),
    "a worker is killed, beside one of another host": (Worker.kill, False, 1),
    "the same for the second time": (Worker.kill, False, 2),
    "a worker is stopped, beside one of another host": (_stopped, False, 1),
    "a worker is told to end at once (SIGQUIT)": (_handed_back, True, 1),
}


def measure(folder: Path, case: str) -> float:
    """Seconds from what happens until the capture is at the same place again."""
    strike, same_host, times = CASES[case]
    (folder / "a").mkdir(parents=True)
    gate = folder / "gate"
    reached = gate.with_suffix(".reached")
    gate.touch()
    root = grow(folder / "originals", files=5)
    (root / "zzz gate").write_text("the last item")
    with redis_process() as broker:
        houses = [House(folder / "a", broker, host="a")]
        if not same_host:
            (folder / "b").mkdir()
            houses.append(House(folder / "b", broker, host="b"))
        try:
            for house in houses:
                for name in [name for name in house.environment if name.endswith("_SECONDS")]:
                    del house.environment[name]
                source = {"kind": "gated", "paths": [root], "gate": gate}
                house.configure({"gated": source}, {"here": {"kind": "local", "path": folder / "store"}})
            houses[0].beat()
            workers = [houses[0].worker()]
            run = houses[0].start()
            houses[0].wait_for(reached.exists, "the gate")
            taken = 0.0
            for turn in range(times):
                if strike is not _child_killed:
                    workers.append(houses[(turn + 1) % len(houses)].worker())
                    time.sleep(10)  # until it is up
                began = time.monotonic()
                strike(workers[turn])
                time.sleep(0.05)
                reached.unlink()
                if strike is _handed_back:
                    houses[0].wait_for(lambda: workers[0].child.poll() is not None, "the end of the worker", 90)
                    reached.unlink(missing_ok=True)
                houses[0].wait_for(reached.exists, case, 300)
                taken = time.monotonic() - began
            gate.unlink()
            report = houses[0].report(run, 120)
            assert report["state"] == "done", report["failures"]
            return taken
        finally:
            for house in houses:
                house.close()


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="takeovers-") as folder, ThreadPoolExecutor(len(CASES)) as pool:
        places = [Path(folder) / str(number) for number in range(len(CASES))]
        found = dict(zip(CASES, pool.map(measure, places, CASES), strict=True))
    print("| what happens | goes on after, s |\n|---|---|")
    for case, seconds in found.items():
        print(f"| {case} | {seconds:.1f} |")
    return 1 if max(found.values()) >= MOST_SECONDS else 0


if __name__ == "__main__":
    sys.exit(main())

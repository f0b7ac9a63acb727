"""One large source captured by one worker process and by two, each held to one core of its own, and so to one thread of
the engine; in one run, so that the ratio means something.

    .venv/bin/python -m tests.benchmarks.shared_source --rounds 3
    .venv/bin/python -m tests.benchmarks.shared_source --rounds 3 --milliseconds 20     # two hosts, a far destination

The time is that from the beginning of the capture to the end of its upload. With a latency, the two workers are two
hosts: each has a configuration, a state folder and a spool of its own. Every night is restored and compared.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tasks.restore import Wanted, restore
from tests.benchmarks.corpora.corpus import CORPORA
from tests.benchmarks.tree import differences, look
from tests.flows import kinds
from tests.flows.house import House
from tests.redis_process import RedisProcess, redis_process

LIMIT = 0.6
_TMPFS = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
_QUEUES = "models,transfer,control"


@dataclass(frozen=True, slots=True)
class Night:
    seconds: float
    stored_bytes: float
    parts: int


def night(broker: RedisProcess, corpus: Path, folder: Path, *, workers: int, part: str, seconds: float) -> Night:
    """A first night of the corpus. Raises `AssertionError` where what is restored is not the same."""
    with closing(broker.client()) as client:
        client.flushall()
    with closing(House(folder, broker)) as house:
        destination = {"kind": "slow", "path": folder / "store", "seconds": seconds}
        house.configure({"models": {"kind": "models", "paths": [corpus], "part_size": part}}, {"here": destination})
        cores = sorted(os.sched_getaffinity(0))
        for number in range(workers):
            environment: dict[str, Any] = {}
            if number and seconds:
                other = folder / "other.toml"
                text = house.file.read_text().replace('state = "state"', 'state = "other"')
                other.write_text(text.replace(f'host = "{house.host}"', 'host = "other"'))
                environment = {"GEOMETRA_BACKUP_CONFIG": str(other)}
            queues = _QUEUES if not number else "models,transfer"
            worker = house.worker(concurrency=1, queues=queues, **environment)
            # Before it forks: what it starts is held to the core as well.
            os.sched_setaffinity(worker.child.pid, {cores[number % len(cores)]})
        with house.app() as app:
            house.wait_for(lambda: len(app.control.ping(timeout=0.5) or ()) == workers, "the workers")
        run = house.start()
        outcome = house.wait_for(lambda: house.record.outcome(run, "upload/models/here"), "the upload", 3600)
        outcomes = house.record.outcomes(run)
        assert outcome["state"] == "done", outcomes
        began = min(each["figures"]["began_epoch_seconds"] for each in outcomes.values())
        with kinds.registered():
            restore(house.installation, "models", "here", Wanted(folder / "restored"))
        wrong = differences(look(corpus), look(folder / "restored" / corpus.name))
        assert not wrong, wrong
        figures = outcomes["backup/models"]["figures"]
        took = outcome["figures"]["ended_epoch_seconds"] - began
        return Night(took, figures["stored_bytes"], int(figures.get("parts", 1)))


def compare(
    broker: RedisProcess, corpus: Path, scratch: Path, *, rounds: int, part: str, seconds: float
) -> list[tuple[Night, Night]]:
    """In turns, with an empty store each: one worker, and two."""
    found = []
    for _ in range(rounds):
        pair = []
        for workers in (1, 2):
            folder = scratch / f"house-{workers}"
            folder.mkdir()
            pair.append(night(broker, corpus, folder, workers=workers, part=part, seconds=seconds))
            shutil.rmtree(folder)
        found.append((pair[0], pair[1]))
    return found


def table(found: list[tuple[Night, Night]]) -> str:
    lines = ["| | one worker | two workers | ratio | stored |", "|---|---:|---:|---:|---:|"]
    for number, (one, two) in enumerate(found, 1):
        ratio, more = two.seconds / one.seconds, two.stored_bytes / one.stored_bytes
        times = f"{one.seconds:.2f} s | {two.seconds:.2f} s | {ratio:.2f}"
        lines.append(f"| round {number}, {two.parts} parts | {times} | {more:.4f} |")
    lines.append(f"\nmedian ratio {ratio_of(found):.2f}, bar {LIMIT:.2f}")
    return "\n".join(lines)


def ratio_of(found: list[tuple[Night, Night]]) -> float:
    return median(two.seconds / one.seconds for one, two in found)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.shared_source", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the 2 GB of models")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts")
    parser.add_argument("--part", default="250MB", help="the source's `part_size`")
    parser.add_argument("--milliseconds", type=float, default=0, help="that every call to the destination takes longer")
    parser.add_argument("--scratch", type=Path, help="keeps the corpus between runs; default: a temporary folder")
    asked = parser.parse_args()
    with ExitStack() as stack:
        fast = _TMPFS if _TMPFS.is_dir() else None
        working = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shared-", dir=fast)))
        corpus = CORPORA["models"].base(asked.scratch or working, asked.scale, 1)
        broker = stack.enter_context(redis_process())
        found = compare(
            broker, corpus, working, rounds=asked.rounds, part=asked.part, seconds=asked.milliseconds / 1000
        )
    print(table(found))
    return 0 if ratio_of(found) <= LIMIT else 3


if __name__ == "__main__":
    sys.exit(main())

"""500 MB of logs in four formats, some rotated and gzipped; then a day passes: appended, rotated, compressed."""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.benchmarks.corpora.words import vocabulary

_START = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15",
    "geometra-client/2.4.1 python-httpx/0.27.0",
    "kube-probe/1.30",
)
_STAGES = ("tessellate", "decimate", "unwrap", "bake", "embed", "render", "export")
_SHARES = {"access.log": 0.26, "app.log": 0.28, "events.jsonl": 0.24, "worker.log": 0.14, "app.log-20261121": 0.04}
_GZIPPED = {"access.log-20261119.gz": 0.10, "access.log-20261120.gz": 0.10, "app.log-20261120.gz": 0.08}


def make(folder: Path, scale: float, seed: int) -> None:
    size = 500_000_000 * scale
    for name, share in _SHARES.items():
        with open(folder / name, "wb") as file:
            _fill(file.write, name, int(size * share), f"{seed} {name} 0")
    for name, share in _GZIPPED.items():
        with open(folder / name, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=1_700_000_000) as packed:
            _fill(packed.write, name, int(size * share), f"{seed} {name} 0")


def change(folder: Path, scale: float, seed: int) -> None:
    """A night of logrotate with `dateext` and `delaycompress`, and the next day's first lines."""
    size = 500_000_000 * scale
    old = folder / "app.log-20261121"
    (folder / "app.log-20261121.gz").write_bytes(gzip.compress(old.read_bytes(), 6, mtime=1_700_000_000))
    old.unlink()
    os.rename(folder / "app.log", folder / "app.log-20261122")
    for name, share in (("app.log", 0.01), ("access.log", 0.015), ("events.jsonl", 0.008), ("worker.log", 0.004)):
        with open(folder / name, "ab") as file:
            _fill(file.write, name, int(size * share), f"{seed} {name} 1")


def _fill(write: Callable[[bytes], int], name: str, size: int, seed: str) -> None:
    lines = {"acc": _access, "app": _app, "eve": _events, "wor": _worker}[name[:3]]
    chance = random.Random(seed)
    when = _START + timedelta(days=int(seed[-1]))
    written = 0
    batch: list[str] = []
    for line in lines(chance, when):
        batch.append(line)
        if len(batch) == 2000:
            data = ("\n".join(batch) + "\n").encode()
            if written + len(data) >= size:
                write(data[: size - written].rpartition(b"\n")[0] + b"\n")
                return
            written += write(data)
            batch.clear()


def _clock(chance: random.Random, when: datetime) -> Iterator[datetime]:
    step = timedelta(milliseconds=1)
    while True:
        when += step * int(chance.expovariate(0.05))
        yield when


def _access(chance: random.Random, start: datetime) -> Iterator[str]:
    addresses = [f"10.{chance.randrange(4)}.{chance.randrange(256)}.{chance.randrange(256)}" for _ in range(600)]
    paths = [f"/api/v1/{word}/{chance.randrange(10**5)}" for word in vocabulary(3, 40) for _ in range(60)]
    for when in _clock(chance, start):
        method, status = ("GET", 200) if chance.random() < 0.85 else ("POST", chance.choice((201, 204, 404, 500)))
        path = paths[int(chance.random() ** 3 * len(paths))]
        yield (
            f"{addresses[int(chance.random() ** 2 * 600)]} - - [{when:%d/%b/%Y:%H:%M:%S} +0000] "
            f'"{method} {path}?v={chance.getrandbits(24):06x} HTTP/1.1" {status} {chance.randrange(200, 30000)} "-" '
            f'"{_AGENTS[int(chance.random() ** 2 * 4)]}" {chance.random() ** 3:.3f}'
        )


def _app(chance: random.Random, start: datetime) -> Iterator[str]:
    clock = _clock(chance, start)
    while True:
        job, worker = f"{chance.getrandbits(64):016x}", chance.randrange(8)
        for stage in _STAGES[: chance.randint(2, 7)]:
            faces = chance.randrange(1000, 900000)
            yield f"{next(clock):%Y-%m-%d %H:%M:%S,%f}"[:-3] + (
                f" INFO  [worker-{worker}] geometra.pipeline.{stage}: job {job} started stage {stage} (faces={faces})"
            )
            yield f"{next(clock):%Y-%m-%d %H:%M:%S,%f}"[:-3] + (
                f" INFO  [worker-{worker}] geometra.pipeline.{stage}: job {job} finished stage {stage} "
                f"in {chance.random() * 900:.1f} ms (faces={faces} vertices={faces // 2 + 2} cache=hit)"
            )
        if chance.random() < 0.03:
            yield f"{next(clock):%Y-%m-%d %H:%M:%S,%f}"[:-3] + (
                f" WARN  [worker-{worker}] geometra.storage: job {job} slow write, again in {chance.randrange(1, 9)} s"
            )


def _events(chance: random.Random, start: datetime) -> Iterator[str]:
    clock = _clock(chance, start)
    kinds = [
        f"{a}.{b}" for a in ("mesh", "session", "model", "queue") for b in ("created", "loaded", "released", "failed")
    ]
    while True:
        request, user = f"{chance.getrandbits(64):016x}", chance.randrange(4000)
        for kind in chance.sample(kinds, chance.randint(2, 5)):
            yield (
                f'{{"timestamp":"{next(clock).isoformat(timespec="milliseconds")}","level":"info","logger":"geometra.api",'
                f'"event":"{kind}","request_id":"{request}","user_id":{user},"host":"node-{user % 6}",'
                f'"duration_ms":{chance.random() * 300:.2f},"bytes":{chance.randrange(100, 99999)},"retries":0}}'
            )


def _worker(chance: random.Random, start: datetime) -> Iterator[str]:
    clock = _clock(chance, start)
    while True:
        bits = f"{chance.getrandbits(128):032x}"
        task = (
            f"geometra.tasks.{chance.choice(_STAGES)}[{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}]"
        )
        number = chance.randrange(1, 5)
        yield f"[{next(clock):%Y-%m-%d %H:%M:%S,%f}"[:-3] + f": INFO/MainProcess] Task {task} received"
        yield (
            f"[{next(clock):%Y-%m-%d %H:%M:%S,%f}"[:-3]
            + f": INFO/ForkPoolWorker-{number}] {task}: started, attempt 1 of 5"
        )
        yield f"[{next(clock):%Y-%m-%d %H:%M:%S,%f}"[:-3] + (
            f": INFO/ForkPoolWorker-{number}] Task {task} succeeded in {chance.random() * 4:.6f}s: None"
        )

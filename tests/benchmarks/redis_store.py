"""`python -m tests.benchmarks.redis_store`: a Redis of mixed keys, captured and restored by us and by what came before.

All in one run on one server: KEYS and GET (the old design), `redis-cli --rdb`, our snapshot and our scan, each with the
worst wait of a client beside it; then SET by SET against our restore, and what a second night stores.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tasks.sources.redis import Redis, RedisSettings, RedisTarget
from tasks.sources.redis_store.connection import Connection
from tasks.sources.redis_store.place import Place
from tasks.sources.source import Restoring
from tests.redis_process import RedisProcess, redis_process
from tests.repositories import about, create, local

_PIECE = 4 << 20


class Measured(NamedTuple):
    what: str
    seconds: float
    cpu: float
    wait: float


def fill(server: RedisProcess, keys: int, seed: int = 1) -> None:
    """Strings, hashes, lists, sets, sorted sets and streams; a quarter expires; a third is in database 3."""
    dice = random.Random(seed)
    words = [bytes(dice.choices(b"abcdefghijklmnopqrstuvwxyz", k=dice.randint(3, 9))) for _ in range(5000)]

    def text(count: int) -> bytes:
        return b" ".join(dice.choices(words, k=count))

    with Connection(Place(socket=str(server.socket))) as connection:
        commands: list[tuple[Any, ...]] = []
        for number in range(keys):
            if number == keys * 2 // 3:
                commands.append(("SELECT", 3))
            name, kind = b"%b:%d" % (dice.choice(words), number), dice.random()
            if kind < 0.41:
                commands.append(("SET", name, text(dice.randint(3, 60))))
            elif kind < 0.6:
                pairs = [part for at in range(dice.randint(2, 10)) for part in (b"f%d" % at, text(4))]
                commands.append(("HSET", name, *pairs))
            elif kind < 0.75:
                commands.append(("RPUSH", name, *[text(3) for _ in range(dice.randint(1, 10))]))
            elif kind < 0.88:
                commands.append(("SADD", name, *[dice.randrange(10**6) for _ in range(dice.randint(1, 12))]))
            elif kind < 0.98:
                pairs = [
                    part for at in range(dice.randint(1, 10)) for part in (repr(dice.random()).encode(), b"m%d" % at)
                ]
                commands.append(("ZADD", name, *pairs))
            else:
                commands.append(("XADD", name, "*", "f", text(5)))
            if number % 4 == 0:
                commands.append(("PEXPIREAT", name, 4_000_000_000_000 + number))
            if len(commands) > 2000 or number == keys - 1:
                connection.ask_all(commands)
                commands.clear()


def fill_large(server: RedisProcess, megabytes: int) -> None:
    with Connection(Place(socket=str(server.socket))) as connection:
        dice = random.Random(2)
        for start in range(0, megabytes * 10_000, 1000):
            pairs = [part for at in range(1000) for part in (b"field:%d" % (start + at), dice.randbytes(100))]
            connection.ask("HSET", "large", *pairs)


@contextmanager
def watched(server: RedisProcess) -> Iterator[list[float]]:
    """The longest that a client waited for GET, in a process of its own."""
    program = (
        "import sys, time, redis\n"
        "client = redis.Redis(unix_socket_path=sys.argv[1])\n"
        "worst = 0.0\n"
        "print('ready', flush=True)\n"
        "import threading\n"
        "ended = threading.Event()\n"
        "threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()\n"
        "while not ended.is_set():\n"
        "    began = time.perf_counter()\n"
        "    client.get('x')\n"
        "    worst = max(worst, time.perf_counter() - began)\n"
        "    time.sleep(0.001)\n"
        "print(worst)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(server.socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    found = [0.0]
    try:
        yield found
    finally:
        found[0] = float(child.communicate("")[0] or "nan")


def measure(server: RedisProcess, what: str, work: Callable[[], object]) -> Measured:
    def used() -> float:
        usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    with watched(server) as waited:
        began, cpu = time.perf_counter(), used()
        work()
        seconds, cpu = time.perf_counter() - began, used() - cpu
    return Measured(what, seconds, cpu, waited[0])


def source(server: RedisProcess, method: str) -> Redis:
    options = {"kind": "redis", "url": f"unix://{server.socket}", "method": method}
    return Redis("docs", RedisSettings.model_validate(options))


def drain(server: RedisProcess, method: str) -> None:
    buffer = memoryview(bytearray(_PIECE))
    for item in source(server, method).capture():
        assert item.open is not None
        stream = item.open()
        while stream.readinto(buffer):
            pass
        stream.close()


def keys_and_get(server: RedisProcess) -> dict[bytes, bytes]:
    """The old design: strings of database 0 only, no expiry."""
    client: Any
    with server.client(text=False) as client:
        found = {}
        for name in client.keys("*"):
            if client.type(name) == b"string":
                found[name] = client.get(name)
        return found


def set_by_set(server: RedisProcess, strings: dict[bytes, bytes]) -> None:
    with server.client(text=False) as client:
        for name, value in strings.items():
            client.set(name, value)


def change(server: RedisProcess, share: float, seed: int = 3) -> None:
    """Give a share of the strings another value of the same length."""
    dice = random.Random(seed)
    client: Any
    for database in (0, 3):
        with server.client(database, text=False) as client:
            pipe = client.pipeline(transaction=False)
            for name in client.scan_iter(count=1000, _type="string"):
                if dice.random() < share:
                    pipe.setrange(name, 0, b"%08d" % dice.randrange(10**8))
            pipe.execute()


def run(keys: int, large: int, folder: Path) -> list[str]:
    lines = ["| | seconds | CPU | a client's worst wait, ms |", "|---|---:|---:|---:|"]

    def say(measured: Measured) -> Measured:
        what, seconds, cpu, wait = measured
        lines.append(f"| {what} | {seconds:.2f} | {cpu:.2f} | {wait * 1000:.0f} |")
        print(lines[-1], file=sys.stderr, flush=True)
        return measured

    with (
        redis_process("--appendonly", "no", "--repl-diskless-sync-delay", "0") as server,
        redis_process("--appendonly", "no") as empty,
    ):
        fill(server, keys)
        strings: dict[bytes, bytes] = {}
        old = say(measure(server, "KEYS and GET", lambda: strings.update(keys_and_get(server))))
        command = ["redis-cli", "-s", str(server.socket), "--rdb", str(folder / "cli.rdb")]
        cli = say(measure(server, "redis-cli --rdb", lambda: subprocess.run(command, check=True, capture_output=True)))
        ours = say(measure(server, "ours, snapshot", lambda: drain(server, "snapshot")))
        cli_again = measure(server, "redis-cli --rdb", lambda: subprocess.run(command, check=True, capture_output=True))
        scan = say(measure(server, "ours, scan", lambda: drain(server, "scan")))
        repository = create(local(folder / "stored"))

        def night(number: int) -> Any:
            return repository.save(source(server, "snapshot").capture(), about(number), repository.destination)

        snapshots: list[Any] = []
        say(measure(server, "ours, snapshot, stored", lambda: snapshots.append(night(1))))
        change(server, 0.01)
        say(measure(server, "ours, 1 % changed, stored", lambda: snapshots.append(night(2))))
        stored = say(measure(empty, "SET by SET, strings only", lambda: set_by_set(empty, strings)))
        with empty.client() as client:
            client.flushall()
        items = repository.read(snapshots[1])
        target = RedisTarget(url=f"unix://{empty.socket}")
        restore = say(
            measure(
                empty,
                "ours, restored, all types",
                lambda: source(server, "auto").restore_into(items, items, target, Restoring()),
            )
        )
        facts = source(server, "snapshot").examine_at(target)
        assert {name: snapshots[1].facts[name] for name in facts} == facts
        if large:
            fill_large(server, large)
            for method in ("snapshot", "scan"):
                say(measure(server, f"ours, {method}, with a hash of {large} MB", lambda: drain(server, method)))  # noqa: B023
        first, second = (snapshot.figures["stored_bytes"] for snapshot in snapshots)
        both = (cli.seconds + cli_again.seconds) / 2
        per_key = (stored.seconds / max(len(strings), 1)) / (restore.seconds / keys)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        lines.append("")
        lines.append(
            f"snapshot: {old.seconds / ours.seconds:.1f}x as fast as KEYS and GET, {ours.seconds / both:.2f} of"
        )
        lines[-1] += f" redis-cli's time; scan: {old.seconds / scan.seconds:.1f}x as fast as KEYS and GET"
        lines.append(f"restore against SET by SET, key by key: {per_key:.1f}x as fast")
        lines.append(
            f"second night after 1 %: {second / first:.1%} of {first / 1e6:.0f} MB; peak {peak:.0f} MB of memory"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.redis_store")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=500, help="megabytes of one hash more, at the end; 0: none")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        print("\n".join(run(asked.keys, asked.large, Path(folder))))


if __name__ == "__main__":
    main()

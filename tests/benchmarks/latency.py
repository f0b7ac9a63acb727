"""`python -m tests.benchmarks.latency`: restoring and checking from a far destination, beside a near one."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tasks.destinations import Data, Destination, Listed
from tasks.repository import Repository
from tasks.sources.file_restore import restore_files
from tasks.sources.source import Restoring
from tests.memory_source import File, MemoryCapture
from tests.repositories import about, create, keys, local


class Far:
    """A destination that is so many seconds away: every call takes as much longer, however many there are at once."""

    def __init__(self, inner: Destination, seconds: float) -> None:
        self._inner, self._seconds = inner, seconds
        self.calls = 0

    def put(self, name: str, data: Data) -> None:
        self._wait()
        self._inner.put(name, data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self._wait()
        return self._inner.get(name, offset, length)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        self._wait()
        return self._inner.list(prefix)

    def delete(self, name: str) -> None:
        self._wait()
        self._inner.delete(name)

    def _wait(self) -> None:
        self.calls += 1
        time.sleep(self._seconds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.latency", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500, help="of content, a third of it in small files")
    parser.add_argument("--milliseconds", type=float, default=50, help="that every call takes longer")
    parser.add_argument("--repeat", type=int, default=3, help="of which the median counts")
    parser.add_argument("--most", type=float, default=1.5, help="the ratio above which this fails")
    asked = parser.parse_args()
    # A disk's own moods would hide what is measured here.
    tmpfs = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
    with tempfile.TemporaryDirectory(prefix="latency-", dir=tmpfs if tmpfs.is_dir() else None) as scratch:
        there = local(Path(scratch) / "there")
        snapshot = create(there).save(MemoryCapture(files(asked.megabytes << 20)), about(0), there)
        ratios: dict[str, list[float]] = {"restore": [], "check": []}
        for _ in range(asked.repeat):
            for verb, found in ratios.items():
                near, far = (timed(verb, Far(there, wait), Path(scratch)) for wait in (0, asked.milliseconds / 1000))
                found.append(far / near)
                print(f"{verb:8} near {near:6.2f} s   far {far:6.2f} s   {far / near:.2f} times")
    medians = {verb: sorted(found)[len(found) // 2] for verb, found in ratios.items()}
    print(f"medians over {asked.megabytes} MB, snapshot {snapshot.id}: {medians}")
    return 0 if max(medians.values()) <= asked.most else 3


def files(size: int) -> dict[bytes, File | bytes]:
    """Half-compressible files of which one in three bytes is in small ones."""
    chance, made = random.Random(1), dict[bytes, File | bytes]()
    words = [chance.randbytes(chance.randrange(3, 9)).hex().encode() for _ in range(5000)]
    total = number = 0
    while total < size:
        length = chance.choice((3_000, 9_000, 24_000)) if number % 400 else 8 << 20
        text = b" ".join(chance.choices(words, k=length // 24))
        content = text + chance.randbytes(length - len(text))
        made[b"folder-%02d/file-%05d" % (number // 500, number)] = content
        total += length
        number += 1
    return made


def timed(verb: str, destination: Far, scratch: Path) -> float:
    repository = Repository.open(destination, keys().reader)
    started = time.monotonic()
    if verb == "check":
        assert repository.check(depth="content").good
        return time.monotonic() - started
    into = scratch / "restored"
    items = repository.read(repository.snapshots()[-1])
    missed = restore_files(items, items, into, Restoring())
    seconds = time.monotonic() - started
    assert len(missed) <= 1, missed
    shutil.rmtree(into)
    return seconds


if __name__ == "__main__":
    sys.exit(main())

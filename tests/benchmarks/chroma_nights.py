"""ChromaDB: the time and the bytes of a folder's snapshot beside a tar.gz of it, what the second night stores, and what
a night costs for which nobody has written.

    .venv/bin/python -m tests.benchmarks.chroma_nights --records 100000 --dimension 384 --rounds 3

Ours is the whole way into a repository on the same disk: the copy under the lock, its check, counts, digests and golden
queries. The design that this replaces is Python's `tarfile` as it comes, which packs with gzip -9; `tar czf` packs with
-6. Rounds are interleaved, so that ratios mean something on a busy machine; each begins with the folder as the round
before left it.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tasks.repository import Repository
from tasks.sources.chroma.settings import ChromaSettings
from tasks.sources.chromadb import Chroma
from tasks.sources.source import Restoring
from tests.chroma_process import chroma
from tests.repositories import about, create, keys, local


@dataclass(frozen=True, slots=True)
class Night:
    """One round: seconds by the clock and of the processors, and bytes; *kept* are all that the destination then holds,
    with the lists of chunks in packs and indexes, which what a night stored does not count."""

    old_seconds: float
    old_cpu: float
    old_bytes: int
    tar_seconds: float
    tar_cpu: float
    tar_bytes: int
    first_seconds: float
    first_cpu: float
    first_bytes: float
    first_kept: int
    second_seconds: float
    second_cpu: float
    second_bytes: float
    second_kept: int
    unchanged_seconds: float
    unchanged_cpu: float
    unchanged_bytes: float
    content_bytes: float
    old_restore_seconds: float
    old_restore_cpu: float
    restore_seconds: float
    restore_cpu: float

    @property
    def time_ratio(self) -> float:
        return self.first_seconds / self.old_seconds

    @property
    def bytes_ratio(self) -> float:
        return self.first_bytes / self.old_bytes

    @property
    def second_ratio(self) -> float:
        """Of what the second night stores to what the first did."""
        return self.second_bytes / self.first_bytes


def grow(store: Path, records: int, dimension: int) -> None:
    chroma("grow", store, str(records), str(dimension), seconds=3600)


def run(store: Path, scratch: Path, size: tuple[int, int], number: int) -> Night:
    """All ways, of one state; then a day, our second night, and one without a day before it."""
    packed = scratch / "old.tar.gz"
    old = [sys.executable, "-m", "tests.benchmarks.old_design", "save", str(packed), str(store)]
    old_seconds, old_cpu, old_figures = _measured(lambda: _packed(old, packed, keep=True))
    back = scratch / "back"
    unpack = [sys.executable, "-m", "tests.benchmarks.old_design", "restore", str(packed), str(back)]
    old_restore_seconds, old_restore_cpu, _ = _measured(lambda: _ran(unpack))
    shutil.rmtree(back)
    packed.unlink()
    tar = ["tar", "czf", str(packed), "-C", str(store.parent), store.name]
    tar_seconds, tar_cpu, tar_figures = _measured(lambda: _packed(tar, packed))
    made = create(local(scratch / "repository"))
    repository = Repository.open(made.destination, keys().reader, cache=scratch / "cache")
    settings = ChromaSettings.model_validate({"kind": "chroma", "path": store, "scratch": scratch})

    source = Chroma("benchmark", settings)

    def save(night: int) -> dict[str, float]:
        snapshot = repository.save(source.capture(), about(night), repository.destination)
        facts = snapshot.facts["collection default_tenant/default_database/texts"]
        if not snapshot.complete or facts["records"] != size[0] or len(facts["nearest"]) < 5:
            raise AssertionError(f"a capture that is not whole is none: {snapshot.flaws}")
        return dict(snapshot.figures)

    first_seconds, first_cpu, first = _measured(lambda: save(0))
    first_kept = _size(scratch / "repository")
    chroma("age", store, *map(str, size), str(number + 1), seconds=600)
    second_seconds, second_cpu, second = _measured(lambda: save(1))
    second_kept = _size(scratch / "repository")
    unchanged_seconds, unchanged_cpu, unchanged = _measured(lambda: save(2))

    def restore() -> dict[str, float]:
        """The second night's, to an open and proven folder."""
        items = repository.read(repository.readable_snapshots()[-1])
        if source.restore(items, items, back, Restoring()):
            raise AssertionError("something could not be given back")
        return {}

    restore_seconds, restore_cpu, _ = _measured(restore)
    shutil.rmtree(back)
    shutil.rmtree(scratch / "repository")
    shutil.rmtree(scratch / "cache")
    return Night(
        old_seconds,
        old_cpu,
        int(old_figures["bytes"]),
        tar_seconds,
        tar_cpu,
        int(tar_figures["bytes"]),
        first_seconds,
        first_cpu,
        first["stored_bytes"],
        first_kept,
        second_seconds,
        second_cpu,
        second["stored_bytes"],
        second_kept,
        unchanged_seconds,
        unchanged_cpu,
        unchanged["stored_bytes"],
        first["content_bytes"],
        old_restore_seconds,
        old_restore_cpu,
        restore_seconds,
        restore_cpu,
    )


def table(nights: list[Night]) -> str:
    lines = ["| | seconds | CPU seconds | against `tarfile` | MB |", "|---|---:|---:|---:|---:|"]
    ways: list[tuple[str, Callable[[Night], tuple[float, float, float]]]] = [
        ("`tarfile`, gzip -9", lambda night: (night.old_seconds, night.old_cpu, night.old_bytes)),
        ("`tar czf`", lambda night: (night.tar_seconds, night.tar_cpu, night.tar_bytes)),
        ("ours, first night", lambda night: (night.first_seconds, night.first_cpu, night.first_bytes)),
        ("ours, second night", lambda night: (night.second_seconds, night.second_cpu, night.second_bytes)),
        ("ours, unchanged", lambda night: (night.unchanged_seconds, night.unchanged_cpu, night.unchanged_bytes)),
    ]
    for name, figures in ways:
        ratio = median(figures(night)[0] / night.old_seconds for night in nights)
        seconds, cpu, size = (median(figures(night)[at] for night in nights) for at in range(3))
        lines.append(f"| {name} | {seconds:.2f} | {cpu:.2f} | {ratio:.3f} | {size / 1e6:.1f} |")
    for name, restore in (("`tarfile`, restore", "old_restore"), ("ours, restore of the second night", "restore")):
        taken = (median(getattr(night, f"{restore}_{of}") for night in nights) for of in ("seconds", "cpu"))
        lines.append("| {} | {:.1f} | {:.1f} | | |".format(name, *taken))
    times, sizes, seconds_night = (
        median(getattr(night, name) for night in nights) for name in ("time_ratio", "bytes_ratio", "second_ratio")
    )
    lines.append(
        f"\nfirst night / tarfile: {times:.2f} of the time (bar 0.20), {sizes:.3f} of the bytes (bar 0.60);"
        f" second night / first: {seconds_night:.1%} (bar 10 %)"
    )
    kept = median(night.first_kept / night.old_bytes for night in nights)
    more = median(night.second_kept / night.first_kept - 1 for night in nights)
    lines.append(f"the whole destination: {kept:.3f} of the bytes, then {more:.1%} more")
    return "\n".join(lines)


def _packed(command: list[str], into: Path, *, keep: bool = False) -> dict[str, float]:
    subprocess.run(command, check=True)
    size = into.stat().st_size
    if not keep:
        into.unlink()
    return {"bytes": size}


def _ran(command: list[str]) -> dict[str, float]:
    subprocess.run(command, check=True)
    return {}


def _measured(work: Callable[[], dict[str, float]]) -> tuple[float, float, dict[str, float]]:
    began, before = time.monotonic(), _cpu()
    figures = work()
    return time.monotonic() - began, _cpu() - before, figures


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _cpu() -> float:
    """Seconds of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.chroma_nights")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", type=Path, help="a folder that was grown before, or is to be; a copy of it is used")
    asked = parser.parse_args()
    size = (asked.records, asked.dimension)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        store = Path(folder) / "store"
        if asked.store and not asked.store.exists():
            grow(asked.store, *size)
        if asked.store:
            shutil.copytree(asked.store, store)
        else:
            grow(store, *size)
        print(f"a Chroma folder of {_size(store) / 1e6:.0f} MB, {size[0]} records of {size[1]} dimensions", flush=True)
        nights = []
        for number in range(asked.rounds):
            nights.append(run(store, Path(folder), size, number))
            print(
                f"{nights[-1].time_ratio:.2f} of the time, {nights[-1].bytes_ratio:.2f} of the bytes, then"
                f" {nights[-1].second_ratio:.1%}",
                flush=True,
            )
    print(f"\n{table(nights)}")


if __name__ == "__main__":
    main()

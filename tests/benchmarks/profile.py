"""`python -m tests.benchmarks.profile`: where the engine's time goes, and how far it is from the limit.

Each step runs twice, in two repositories: once undisturbed, which gives its seconds, and once looked at by py-spy a few
hundred times a second, which gives the shares: of the moments in which a thread was at work, what it was in. Beside it
what can't be avoided, done in the plainest way: `files` is to read what the step must read and write what it writes,
`memory` to copy the step's bytes once.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import engine
from tests.benchmarks.corpora.corpus import CORPORA, Corpus
from tests.benchmarks.machine import facts

RATE = 250
STEPS = {"first": "save", "changed": "save", "unchanged": "save", "restore": "restore", "read all": "read"}
ROOT = Path(__file__).parents[2]

LIBRARIES = {
    "zstd": ("backend_c", "zstd.c"),
    "BLAKE3": ("blake3",),
    "AES-GCM": ("_rust.abi3",),
    "Argon2": ("_sodium", "argon2"),
    "FastCDC": ("fastcdc",),
    "NumPy": ("_multiarray_umath", "numpy/"),
}
"""By what the file of a native frame has in its name. NumPy parts and joins planes, and looks names up."""

CALLS = {
    "reading": {"read", "readv", "pread64", "preadv64", "preadv64v2"},
    "writing": {"write", "writev", "pwrite64", "pwritev64", "fsync", "fdatasync"},
}
KINDS = (*LIBRARIES, *CALLS, "other calls", "imports", "Python")
_WAITING = "waiting"
_WAITS = (
    "PyThread_acquire_lock",
    "pthread_cond",
    "pthread_mutex",
    "sem_",
    "poll",
    "select",
    "epoll_wait",
    "waitpid",
    "wait4",
)
_MEMORY = ("0x", "mem", "__mem", "malloc", "free", "realloc", "calloc", "_int_", "mmap", "munmap", "madvise")
_BEGINNINGS = (";main (/", "/threading.py:", "/small_files.py:")
"""What is in the stack of each thread that does a step's work: its function, a thread that it began, its helper."""
_FRAME = re.compile(r"(?P<what>.*) \((?P<where>[^()]*)\)")
_BLOCK = 4 << 20


class Step(NamedTuple):
    """Seconds, and how many of the samples were in what. `files` and `memory` are seconds of what can't be avoided."""

    corpus: str
    step: str
    seconds: float
    cpu_seconds: float
    files: float
    memory: float
    samples: Counter[str]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.profile", description=(__doc__ or "").partition("\n")[0]
    )
    usual = [name for name in CORPORA if name != "tiny-files"]
    parser.add_argument("--corpus", nargs="+", choices=list(CORPORA), default=usual, help="default: all but tiny-files")
    parser.add_argument("--scale", type=float, default=1.0, help="of the corpora's sizes")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is made up")
    parser.add_argument("--scratch", type=Path, help="keeps the corpora between runs; default: a temporary folder")
    parser.add_argument("--working", type=Path, default=Path("/dev/shm"), help="where to work; default: /dev/shm")  # noqa: S108 - a private folder is made in it
    asked = parser.parse_args()
    if not shutil.which(profiler()):
        sys.exit(f"`{profiler()}` is not there: `pip install py-spy`")
    with (
        tempfile.TemporaryDirectory(prefix="profile-", dir=asked.working) as working,
        tempfile.TemporaryDirectory(prefix="corpora-") as scratch,
    ):
        found: list[Step] = []
        for name in asked.corpus:
            corpus = CORPORA[name]
            base = corpus.base(asked.scratch or Path(scratch), asked.scale, asked.seed)
            found += profiled(corpus, base, Path(working), scale=asked.scale, seed=asked.seed)
    print("\n".join(table(found)))
    print("\n" + "; ".join(f"{name}: {value}" for name, value in facts().items()))
    return 0


def profiler() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else "py-spy"


def profiled(corpus: Corpus, base: Path, working: Path, *, scale: float, seed: int) -> list[Step]:
    """All steps of one corpus. Raises `subprocess.CalledProcessError` where the engine does not succeed."""
    places, live, found = [working / "undisturbed", working / "looked-at"], working / "live", list[Step]()
    subprocess.run(["cp", "-a", base, live], check=True)
    for place in places:
        place.mkdir()
        engine.main("create", place, corpus.kind, live)
    for step, verb in STEPS.items():
        before = {path: path.stat().st_mtime_ns for path in _files(live)}
        if step == "changed":
            corpus.change(live, scale, seed)
        written = set(_files(places[0]))
        into = [working / f"{place.name}-restored" if verb == "restore" else live for place in places]
        seconds, cpu_seconds = _run(verb, places[0], corpus.kind, into[0])
        samples = looked_at(verb, places[1], corpus.kind, into[1])
        if verb == "restore":
            reads, writes = _files(places[0] / "repository"), _files(into[0])
        elif verb == "read":
            reads, writes = _files(places[0] / "repository"), []
        else:
            reads = [path for path in _files(live) if step == "first" or path.stat().st_mtime_ns != before.get(path)]
            writes = [path for path in _files(places[0] / "repository") if path not in written]
        files, memory = plainly(live, reads, writes, working / "plain")
        found.append(Step(corpus.name, step, seconds, cpu_seconds, files, memory, samples))
        for folder in into if verb == "restore" else ():
            shutil.rmtree(folder)
    for path in working.iterdir():
        shutil.rmtree(path)
    return found


def _run(verb: str, place: Path, kind: str, folder: Path) -> tuple[float, float]:
    done = subprocess.run(_command(verb, place, kind, folder), cwd=ROOT, check=True, stdout=subprocess.PIPE)
    figures = json.loads(done.stdout)
    return figures["seconds"], figures["cpu_seconds"]


def _command(verb: str, place: Path, kind: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.engine", verb, *map(str, (place, kind, folder))]


def looked_at(verb: str, place: Path, kind: str, folder: Path) -> Counter[str]:
    """In what the threads of a step, and of the processes that it starts, were how often."""
    stacks = place / "stacks"
    record = [
        profiler(),
        "record",
        "--native",
        "--threads",
        "--full-filenames",
        "--subprocesses",
        "--rate",
        str(RATE),
        "--format",
        "raw",
    ]
    subprocess.run(
        [*record, "--output", str(stacks), "--", *_command(verb, place, kind, folder)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    text = stacks.read_text(errors="replace")
    stacks.unlink()
    return counted(text.splitlines())


def counted(lines: Iterable[str]) -> Counter[str]:
    """`lines` are stacks, `outermost;...;innermost count`. What comes before the step began is left out, and whoever
    waits for another."""
    found = Counter[str]()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if any(begin in stack for begin in _BEGINNINGS):
            found[kind_of(stack.split(";"))] += int(count)
    del found[_WAITING]
    return found


def kind_of(frames: Sequence[str]) -> str:
    """What the innermost frames are at: a call of the system, a library, or Python itself."""
    called = ""
    for frame in reversed(frames):
        match = _FRAME.fullmatch(frame.strip())
        what, where = (match["what"], match["where"]) if match else (frame, "")
        if what.lstrip("_").startswith(_WAITS):
            return _WAITING
        for kind, names in LIBRARIES.items():
            if any(name in where for name in names):
                return kind
        if "importlib" in where:
            return "imports"
        if where.startswith("libc.") or "/libc." in where:
            # What has no name there, or these, is memory for whoever called it.
            called = called or ("" if what.startswith(_MEMORY) else what.lstrip("_"))
        elif ".py:" in where:
            break
    if called:
        return next((kind for kind, names in CALLS.items() if called in names), "other calls")
    return "Python"


def plainly(live: Path, reads: Iterable[Path], writes: Iterable[Path], scratch: Path) -> tuple[float, float]:
    """Seconds to look at each file, to read some and to write such as others are; and to copy as many bytes once."""
    sizes = [path.stat().st_size for path in writes]
    buffer, other = bytearray(_BLOCK), bytearray(_BLOCK)
    scratch.mkdir()
    began, total = time.perf_counter(), 0
    for path in _files(live):
        os.lstat(path)
    for path in reads:
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                total += count
    for number, size in enumerate(sizes):
        with open(scratch / str(number), "wb", buffering=0) as file:
            file.writelines(memoryview(buffer)[: min(_BLOCK, size - start)] for start in range(0, size, _BLOCK))
    files = time.perf_counter() - began
    shutil.rmtree(scratch)
    began = time.perf_counter()
    for _ in range(max(total, sum(sizes)) // _BLOCK):
        other[:] = buffer
    return files, time.perf_counter() - began


def _files(folder: Path) -> list[Path]:
    return [Path(at, name) for at, _, names in os.walk(folder) for name in names]


def table(found: Iterable[Step]) -> list[str]:
    """As markdown."""
    lines = [
        f"| corpus | step | s | CPU s | files s | memory s | {' | '.join(f'{kind} %' for kind in KINDS)} | samples |",
        f"|---|---|{'---|' * (5 + len(KINDS))}",
    ]
    for corpus, step, seconds, cpu_seconds, files, memory, samples in found:
        total = samples.total()
        shares = [f"{100 * samples[kind] / total:.0f}" if total else "" for kind in KINDS]
        times = [f"{value:.2f}" for value in (seconds, cpu_seconds, files, memory)]
        lines.append(f"| {' | '.join((corpus, step, *times, *shares, str(total)))} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())

"""What a command costs, with every process it starts: wall and CPU seconds, and the peak of its memory. Linux only."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>: orphans of a command come to us, so their CPU seconds are counted too
# Seconds: dense at the start, then rare, or watching would slow down what it watches.
_FIRST_SAMPLE, _SLOWEST_SAMPLE = 0.02, 0.3


class CommandFailed(Exception):
    """A measured program did not succeed; the text holds the end of its output."""


class Cost(NamedTuple):
    """`cpu` is user and system seconds of the whole tree of processes. `peak` is the greatest sum of their
    proportional memory (PSS: shared pages counted once), sampled a few times a second, or the largest process's own
    high-water mark where that is more."""

    wall: float
    cpu: float
    peak: int


def run(command: Sequence[str | Path], *, cwd: Path, environment: Mapping[str, str], log: Path) -> Cost:
    """Run to the end, its output appended to `log`. Raises `CommandFailed`. What it leaves running is ended. Children
    that the calling process has already are left alone, but not what these leave behind meanwhile."""
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    others = set(_parents().get(os.getpid(), ()))
    with open(log, "ab") as output:
        begin = output.tell()
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        with _Sampler(others) as sampler:
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.terminate()
                _reap(others, patience=1.0)
                raise
            wall = time.perf_counter() - started
            cpu = usage.ru_utime + usage.ru_stime + _reap(others)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = log.read_bytes()[begin:][-2000:].decode(errors="replace")
        raise CommandFailed(f"`{' '.join(map(str, command))}` ended with {process.returncode}:\n{tail}")
    return Cost(wall, cpu, sampler.peak)


def _reap(others: Set[int], patience: float = 5.0) -> float:
    """CPU seconds of the orphans; those that don't end by themselves are told to, by their id."""
    cpu, deadline, told = 0.0, time.monotonic() + patience, False
    while orphans := [pid for pid in _parents().get(os.getpid(), ()) if pid not in others]:
        for orphan in orphans:
            with suppress(ChildProcessError):  # somebody else has heard of its end
                pid, _, usage = os.wait4(orphan, os.WNOHANG)
                cpu += usage.ru_utime + usage.ru_stime if pid else 0.0
        if time.monotonic() > deadline and not told:
            told = True
            for orphan in _descendants(os.getpid(), others):
                with suppress(ProcessLookupError):
                    os.kill(orphan, signal.SIGTERM)
        time.sleep(0.005)
    return cpu


class _Sampler:
    """Watches all descendants of this process, but for those of its children `others`, from a thread."""

    def __init__(self, others: Set[int]) -> None:
        self.peak = 0
        self._others = others
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = _FIRST_SAMPLE
        while True:
            tree = _descendants(os.getpid(), self._others)
            sizes = [_memory(pid) for pid in tree]
            self.peak = max([self.peak, sum(now for now, _ in sizes), *(most for _, most in sizes)])
            if self._end.wait(pause):
                return
            pause = min(pause * 1.2, _SLOWEST_SAMPLE)


def _parents() -> dict[int, list[int]]:
    """The children of each process that has some."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path("/proc", name, "stat").read_text()
            except OSError:
                continue  # it has ended meanwhile
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(name))
    return children


def _descendants(root: int, others: Set[int]) -> list[int]:
    """All descendants of `root`, not `root` itself; without those of its children that are among the `others`."""
    children = _parents()
    found = [pid for pid in children.get(root, ()) if pid not in others]
    for process in found:  # grows while it is walked
        found.extend(children.get(process, ()))
    return found


def _memory(pid: int) -> tuple[int, int]:
    """Bytes of proportional memory now, and the process's own high-water mark; zeros if it has just ended."""
    try:
        now = _field(f"/proc/{pid}/smaps_rollup", "Pss:")
        return now, _field(f"/proc/{pid}/status", "VmHWM:")
    except OSError:
        return 0, 0


def _field(path: str, name: str) -> int:
    with open(path) as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0

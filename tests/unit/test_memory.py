"""Freed memory is used again, counted in page faults, which no other load changes; and given back between two steps."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

_WORK = """
import resource
from concurrent.futures import ThreadPoolExecutor
from tasks.memory import keep_freed_memory
{begin}
def work(number):
    held = [bytearray((number + each) % 8 + 1 << 20) for each in range(4)]
with ThreadPoolExecutor(4) as threads:
    list(threads.map(work, range(60)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""

_STEP = """
from tasks.memory import give_back, keep_freed_memory
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) << 12
keep_freed_memory()
before = resident()
held = [bytearray(64 << 10) for _ in range(1 << 11)]
last = bytearray(64 << 10)  # above what is freed, or it would be given back by itself
del held
kept = resident()
give_back()
print(kept - before, resident() - before)
"""


def faults(begin: str, **environment: str) -> int:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", _WORK.format(begin=begin)]
    done = subprocess.run(command, env=clean | environment, stdout=subprocess.PIPE, check=True, timeout=60)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in its own way")
def test_blocks_that_come_and_go_take_the_same_memory_again() -> None:
    assert faults("keep_freed_memory()") < 0.2 * faults("")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in its own way")
def test_whoever_sets_glibc_s_own_variables_decides() -> None:
    trimmed = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # each block is a map of its own, given back at once
    assert faults("keep_freed_memory()", **trimmed) > faults("")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in its own way")
def test_what_a_step_has_freed_is_given_back_after_it() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", _STEP], env=clean, stdout=subprocess.PIPE, check=True, timeout=60)
    kept, left = map(int, done.stdout.split())
    assert kept >= 128 << 20
    assert left < 8 << 20

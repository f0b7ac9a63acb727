"""CPU is counted wherever it was spent: in threads, and in programs that were waited for."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from tasks.stopwatch import Stopwatch

BURN = "import time\nwhile time.process_time() < 0.2: pass"


def burn() -> None:
    until = time.thread_time() + 0.2
    while time.thread_time() < until:
        pass


def test_waiting_costs_time_and_no_cpu() -> None:
    watch = Stopwatch()
    time.sleep(0.2)
    figures = watch.figures()
    assert figures["seconds"] >= 0.2
    assert figures["cpu_seconds"] < 0.1


def test_the_cpu_of_a_thread_and_of_a_program_that_was_run_counts() -> None:
    watch = Stopwatch()
    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()
    assert watch.figures()["cpu_seconds"] >= 0.19
    subprocess.run([sys.executable, "-c", BURN], check=True)
    assert watch.figures()["cpu_seconds"] >= 0.39


def test_the_most_memory_is_told() -> None:
    held = bytearray(50_000_000)
    held[::4096] = b"x" * len(held[::4096])
    assert Stopwatch().figures()["peak_memory_bytes"] >= len(held)

"""Memory stays bounded whatever a source's size. `GEOMETRA_LARGE=1` captures 3 GB, and a million items."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
LARGE = os.environ.get("GEOMETRA_LARGE") == "1"
MIB = 1 << 20


def captured(what: str, amount: int, nights: int, folder: Path, *more: str) -> dict[str, float]:
    """In a process of its own, whose peak of memory is nothing but the capture's."""
    child = Path(__file__).with_name("memory_child.py")
    command = [sys.executable, str(child), what, str(amount), str(nights), str(folder), *more]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def test_a_stream_of_gigabytes_is_captured_in_little_memory(fast_path: Path) -> None:
    megabytes = 3072 if LARGE else 512
    figures = captured("stream", megabytes, 1, fast_path)
    assert figures["new_bytes"] == megabytes * MIB, "none of it was deduplicated away"
    assert figures["peak"] < 200 * MIB, f"{figures['peak'] / MIB:.0f} MiB"


def test_a_great_many_tiny_items_are_captured_in_little_memory(fast_path: Path) -> None:
    thousands = 1000 if LARGE else 60
    figures = captured("tiny", thousands, 1, fast_path)
    assert figures["items"] == thousands * 1000
    assert figures["peak"] < 200 * MIB, f"{figures['peak'] / MIB:.0f} MiB"


def test_the_next_night_of_a_great_many_items_takes_little_memory_too(fast_path: Path) -> None:
    thousands = 1000 if LARGE else 60
    figures = captured("tiny", thousands, 2, fast_path)
    assert figures["unchanged"] == thousands * 1000
    assert figures["peak"] < 200 * MIB, f"{figures['peak'] / MIB:.0f} MiB"


def test_a_great_many_items_that_may_not_be_read_take_little_memory(fast_path: Path) -> None:
    figures = captured("refused", 400, 1, fast_path)
    assert figures["flaws"] == 400_000
    assert figures["peak"] < 160 * MIB, f"{figures['peak'] / MIB:.0f} MiB"


def test_all_that_comes_after_a_capture_of_a_great_many_items_takes_little_memory_too(fast_path: Path) -> None:
    thousands = 1000 if LARGE else 60
    figures = captured("tiny", thousands, 2, fast_path, "all")
    assert figures["unchanged"] == thousands * 1000
    assert figures["peak"] < 200 * MIB, f"{figures['peak'] / MIB:.0f} MiB"

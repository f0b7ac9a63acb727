"""An index of many chunks takes little memory and time. `GEOMETRA_LARGE=1` makes it ten million; else it is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CHUNKS = 10_000_000 if os.environ.get("GEOMETRA_LARGE") == "1" else 1_000_000
MIB = 1 << 20


@pytest.mark.timeout(600)
@pytest.mark.parametrize("verb", ["load", "check", "prune", "save", "upload"])
def test_it_takes_at_most_46_bytes_a_chunk_and_a_second_a_million(verb: str, fast_path: Path) -> None:
    """In a process of its own, whose peak of memory is nothing but this."""
    child = Path(__file__).with_name("index_child.py")
    command = [sys.executable, str(child), verb, str(CHUNKS), str(fast_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    # What it takes whatever the size: buffers, an index object on its way.
    taken = figures["bytes"] - 24 * MIB
    assert taken <= 46 * CHUNKS, f"{taken / CHUNKS:.1f} bytes a chunk"
    assert figures["seconds"] <= CHUNKS / 1_000_000 + 1, f"{figures['seconds']:.1f} s"

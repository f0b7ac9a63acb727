"""NumPy as the project uses it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tasks.numbers import distinct, numpy


@given(some.lists(some.integers(0, 40)))
def test_distinct_values_come_once_and_in_order(values: list[int]) -> None:
    assert distinct(numpy.array(values, numpy.int64)).tolist() == sorted(set(values))


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads that Linux lists")
@pytest.mark.parametrize("module", ["tasks.backup", "tasks.restore", "tasks.verify", "tasks.sources.redis"])
def test_whatever_comes_first_numpy_starts_no_threads(module: str) -> None:
    program = f"import os, sys, {module}; print('numpy' in sys.modules, len(os.listdir('/proc/self/task')))"
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert told.stdout.split() == ["True", "1"]

"""One of a thing for each process: no client, lock or connection of a parent is ever used in its forked child."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """What `make` returns, made on first use and once per process. Safe in threads and after a fork: a client of an
    SDK that is used on both sides of one reads the answers to the other side's questions, without noticing."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._begin()

    def __call__(self) -> T:
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]

    def _begin(self) -> None:
        # The lock too: one that another thread of the parent held at the fork would stay locked for ever.
        self._lock = threading.Lock()
        self._made: list[T] = []
        self._process = os.getpid()

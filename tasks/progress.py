"""How far a step is: told to the record at most twice a second, whatever the work's own pace."""

from __future__ import annotations

import time
from collections.abc import Callable

from tasks.errors import Unavailable
from tasks.record import Record

Progress = Callable[[dict[str, float]], None]
"""Called by plain functions with what is done so far: `done_bytes`, `total_bytes` (0 if unknown), `items`."""

INTERVAL = 0.5
"""Seconds between two writes to the record."""


def unheard(figures: dict[str, float]) -> None:
    """For work that nobody watches."""


class Teller:
    """A `Progress` that writes to the record. `check` is called each time, and may raise to stop the work."""

    def __init__(self, record: Record, run: str, step: str, check: Callable[[], None]) -> None:
        self._record, self._run, self._step, self._check = record, run, step, check
        self._next = 0.0

    def __call__(self, figures: dict[str, float]) -> None:
        self._check()
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + INTERVAL
        try:
            self._record.tell(self._run, self._step, figures)
        except Unavailable:
            self._next = now + 20 * INTERVAL  # progress is a courtesy: the work goes on without it

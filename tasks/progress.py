"""How far a step is, and how fast: told at most twice a second, whatever the work's own pace."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from tasks.amount import size
from tasks.errors import Unavailable
from tasks.record import Record

Progress = Callable[[dict[str, float]], None]
"""Called by plain functions with what is done so far: `done_bytes`, `total_bytes` (0 if unknown), `items`."""

INTERVAL = 0.5
"""Seconds between two tellings."""
_SMOOTH = 11
"""The rate is that of so many tellings: of the last five seconds."""


def unheard(figures: dict[str, float]) -> None:
    """For work that nobody watches."""


def hidden(text: str) -> None:
    """For work that is shown nowhere but in the record."""


class Teller:
    """A `Progress` that writes to the record, and has it shown in words. `check` is called each time, and may raise to
    stop the work."""

    def __init__(
        self, record: Record, run: str, step: str, check: Callable[[], None], *, show: Callable[[str], None] = hidden
    ) -> None:
        self._record, self._run, self._step, self._check, self._show = record, run, step, check, show
        self._next = 0.0
        self._told: deque[tuple[float, float]] = deque(maxlen=_SMOOTH)

    def __call__(self, figures: dict[str, float]) -> None:
        self._check()
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + INTERVAL
        rate = self._rate(now, figures.get("done_bytes", 0))
        try:
            self._record.tell(self._run, self._step, figures | {"bytes_per_second": rate})
            self._show(in_words(figures, rate))
        except Unavailable:
            self._next = now + 20 * INTERVAL  # progress is a courtesy: the work goes on without it

    def _rate(self, now: float, done: float) -> float:
        if self._told and done < self._told[-1][1]:
            self._told.clear()  # the next of several things is begun
        self._told.append((now, done))
        then, before = self._told[0]
        return round((done - before) / (now - then)) if now > then else 0


def in_words(figures: dict[str, float], rate: float) -> str:
    """`1.2 GB of 3.4 GB (35 %), 120 MB/s`; of what is not known, nothing."""
    done, total = figures.get("done_bytes", 0), figures.get("total_bytes", 0)
    text = size(done)
    if total:
        text += f" of {size(total)} ({min(100 * done / total, 100):.0f} %)"
    return f"{text}, {size(rate)}/s" if rate else text

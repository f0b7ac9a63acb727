"""Watching work: a run by the record that its workers keep, or a function of this process by its own progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tasks.errors import Unavailable
from tasks.record import Record, Run
from workers.cli import screen

_POLL_SECONDS = 0.1
_SILENT_SECONDS = 30.0
_LOOK_SECONDS = 2.0
_IDLE_SECONDS = 10.0
_STUCK_SECONDS = 60.0
"""A step whose worker was killed may lie still for so long before another takes it up."""

Figures = dict[str, float]


class _Bytes(ProgressColumn):
    """What is done, of how much, and how fast, once there are bytes to speak of."""

    def render(self, task: Task) -> Text:
        if not task.completed:
            return Text("")
        total = f" of {screen.size(task.total)}" if task.total else ""
        rate = f", {screen.size(task.speed)}/s" if task.speed else ""
        return Text(f"{screen.size(task.completed)}{total}{rate}", style="dim")


def _bars(transient: bool) -> Progress:
    return Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=True),
        BarColumn(bar_width=24),
        _Bytes(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        console=screen.errors,
        transient=transient,
    )


@contextmanager
def watching(title: str, quiet: bool) -> Iterator[Callable[[Figures], None]]:
    """A progress callback for work in this process, shown as one bar on a terminal's standard error."""
    if quiet or not screen.errors.is_terminal:
        yield lambda figures: None
        return
    with _bars(transient=True) as bars:
        task = bars.add_task(title, total=None)

        def progress(figures: Figures) -> None:
            bars.update(task, completed=figures.get("done_bytes", 0), total=figures.get("total_bytes") or None)

        yield progress


def follow(record: Record, run: Run, quiet: bool) -> dict[str, Any]:
    """Wait for a run's report and return it, showing on the way what the workers tell. Raises `Unavailable` where the
    broker stays away, or comes back without its data."""
    notices = _Notices(record, run)
    if quiet or not screen.errors.is_terminal:
        return _wait(record, run, notices.update)
    with _bars(transient=True) as bars:
        shown = _Shown(bars, record, run)

        def update() -> None:
            shown.update()
            notices.update()

        return _wait(record, run, update)


def _wait(record: Record, run: Run, update: Callable[[], None]) -> dict[str, Any]:
    unreachable_since: float | None = None
    looked, known = time.monotonic(), True
    while known:
        try:
            report = record.report(run.id)
            update()
            if report is not None:
                return report
            if time.monotonic() - looked > _LOOK_SECONDS:
                looked, known = time.monotonic(), record.run(run.id) is not None
            unreachable_since = None
        except Unavailable:
            unreachable_since = unreachable_since or time.monotonic()
            if time.monotonic() - unreachable_since > _SILENT_SECONDS:
                raise
        time.sleep(_POLL_SECONDS)
    raise Unavailable(
        f"the broker has lost its data, and with it the run {run.id}, which nobody will finish: run it again;"
        " what was packed or stored already is not stored a second time"
    )


class _Notices:
    """What a person should know while waiting, each once, on standard error: why a step waits, that nothing begins."""

    def __init__(self, record: Record, run: Run) -> None:
        self._record, self._run = record, run
        self._told: set[tuple[str, str]] = set()
        self._done, self._moved, self._next = 0, time.monotonic(), 0.0

    def update(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 1
        notes = self._record.notes(self._run.id)
        for step, text in notes.items():
            self._tell(step, f"{step} waits: {text}")
        if now - self._moved > (_STUCK_SECONDS if self._done else _IDLE_SECONDS):
            self._look(now, notes)

    def _look(self, now: float, notes: Mapping[str, str]) -> None:
        """Whether anything goes on, of what has no outcome yet. Whoever notes why a step waits may be away too."""
        record, run = self._record, self._run
        missing = record.missing(run)
        done = len(run.steps) - len(missing)
        if done != self._done or any(record.is_leased(run.id, step) for step in missing):
            self._done, self._moved = done, now
        elif missing and not any(step in notes for step in missing):
            what = f"{missing[0]} has not begun" if done else "nothing has begun yet"
            self._tell("", f"{what}: is a worker running for each pool? `geometra-backup check` tells")

    def _tell(self, step: str, text: str) -> None:
        if (step, text) not in self._told:
            self._told.add((step, text))
            screen.errors.print(text, style="yellow", markup=False, soft_wrap=True)


class _Shown:
    """One bar for all steps, and one for each step that tells how far it is."""

    def __init__(self, bars: Progress, record: Record, run: Run) -> None:
        self._bars, self._record, self._run = bars, record, run
        self._all = bars.add_task(f"[bold]{run.plan or 'run'}[/]", total=None)
        self._tasks: dict[str, TaskID] = {}

    def update(self) -> None:
        outcomes, told = self._record.outcomes(self._run.id), self._record.progress(self._run.id)
        done = sum(step in outcomes for step in self._run.steps)
        steps = f"{done} of {len(self._run.steps)} steps"
        self._bars.update(self._all, description=f"[bold]{self._run.plan or 'run'}[/] {steps}")
        for step, figures in told.items():
            if step in outcomes:
                if step in self._tasks:
                    self._bars.update(self._tasks[step], visible=False)
                continue
            if step not in self._tasks:
                self._tasks[step] = self._bars.add_task(step, total=None)
            self._bars.update(
                self._tasks[step],
                completed=figures.get("done_bytes", 0),
                total=figures.get("total_bytes") or None,
            )

"""Put a snapshot back: all of it, or chosen paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from celery import Task, shared_task

from tasks.chosen import Chosen, chosen_snapshot
from tasks.installation import Installation
from tasks.item import Stored
from tasks.outcome import Outcome, State
from tasks.progress import Progress, unheard
from tasks.repository import Repository, Snapshot
from tasks.sources.source import Restoring, Served, Source
from tasks.step import run_step
from tasks.stopwatch import Stopwatch
from tasks.target import Target, target_of
from tasks.watched import Watched


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to put back, where and how. Without patterns and paths: everything. A folder is made if it is not there."""

    into: Target
    patterns: tuple[str, ...] = ()
    paths: tuple[bytes, ...] = ()
    how: Restoring = field(default_factory=Restoring)


def restore_from(
    repository: Repository, snapshot: Snapshot, source: Source, wanted: Wanted, *, progress: Progress = unheard
) -> tuple[dict[str, float], list[str]]:
    """Put back from a repository that is open with the private key. Needs no configuration and no cache. Returns
    figures, and a line for each thing that could not be given back, such as an owner. Raises `NotFound`, `Occupied`,
    `UnsafePath`, `Damaged`; what was put back before an error stays."""
    watch = Stopwatch()
    items = repository.read(snapshot)
    chosen: Iterable[Stored] = items
    count, size = int(snapshot.figures.get("items", 0)), int(snapshot.figures.get("content_bytes", 0))
    if wanted.patterns or wanted.paths:
        chosen = some = Chosen(items, wanted.patterns, wanted.paths)
        count, size = some.count, some.content_bytes
    watched = Watched(items, size, progress)
    if isinstance(wanted.into, Path):
        missed = source.restore(watched, chosen, wanted.into, wanted.how)
    else:
        assert isinstance(source, Served)  # noqa: S101 - `target_of` has seen to it
        missed = source.restore_into(watched, chosen, wanted.into, wanted.how)
    return {"items": count, "restored_bytes": size} | watch.figures(), missed


def restore(
    installation: Installation,
    source: str,
    destination: str,
    wanted: Wanted,
    *,
    snapshot: str = "",
    progress: Progress = unheard,
) -> Outcome:
    """Put back a configured source's snapshot (empty: the newest). *incomplete*: `flaws` says what could not be given
    back although the item is there, such as an owner."""
    made = installation.source(source)
    repository = installation.repository(source, destination, reader=True)
    chosen = chosen_snapshot(repository, snapshot, destination)
    figures, missed = restore_from(repository, chosen, made, wanted, progress=progress)
    state: State = "incomplete" if missed else "done"
    return Outcome(
        "restore", source, destination, snapshot=chosen.id, state=state, figures=figures, flaws=tuple(missed)
    )


@shared_task(name="restore", bind=True, max_retries=None)
def restore_task(
    self: Task[Any, Any],
    *,
    source: str,
    destination: str,
    run: str,
    into: str,
    snapshot: str = "",
    patterns: Sequence[str] = (),
    overwrite: bool = False,
    options: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """`into` is a folder on the worker's host; or a server's URL without a password, or where one is found
    (`env:NAME`, `file:PATH`), and then there are the `options` of the source's kind, a list each. `run` is any new id,
    which makes a second delivery harmless."""

    def work(installation: Installation, progress: Progress) -> Outcome:
        target = target_of(installation.source(source), into, options or {})
        wanted = Wanted(target, tuple(patterns), how=Restoring(overwrite=overwrite))
        return replace(
            restore(installation, source, destination, wanted, snapshot=snapshot, progress=progress), run=run
        )

    return run_step(self, Outcome("restore", source, destination, run, snapshot), None, work)

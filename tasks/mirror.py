"""Bring one destination level with another: all of a source's history, oldest first; what is there is skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from celery import Task, shared_task

from tasks.errors import BackupError, Damaged, NewerFormat, NotARepository, NotFound, Unavailable
from tasks.installation import Installation, check_same_history
from tasks.outcome import Outcome
from tasks.progress import Progress, unheard
from tasks.repository import Repository
from tasks.repository.copying import Copying
from tasks.repository.flights import ahead
from tasks.step import run_step


def mirror(
    installation: Installation, source: str, origin: str, destination: str, *, progress: Progress = unheard
) -> Outcome:
    """Make `destination` hold every snapshot of a source that `origin` holds, and all that these need; either may be
    any configured destination, and the source one that is configured no more. Needs no passphrase. A snapshot that
    can't be brought, for it is damaged at `origin`, makes the outcome *incomplete* and is named; the others are
    brought. What was let go over there comes back, until the next prune.

    `figures`: `snapshots` that were brought, `skipped` that were there, `packs`, `sent_bytes`. Raises `NotARepository`
    where `origin` has none of that source, `NotFound`, `Refused`, `Unavailable`.
    """
    if origin == destination:
        raise NotFound(f"`{origin}` can't be brought level with itself: name two destinations")
    try:
        here = installation.repository(source, origin)
    except NotARepository:
        installation.source(source)
        raise
    to = installation.repository(source, destination, create=True, history=here.source)
    check_same_history(here, to, source, destination)
    known = here.snapshot_ids()
    there = _whole(to, set(known).intersection(to.snapshot_ids()))
    wanted = [name for name in known if name not in there]
    figures, missed = Counter[str](snapshots=0, packs=0, sent_bytes=0), list[str]()
    figures["skipped"] = len(there)
    copying: Copying | None = None
    for name in wanted:
        try:
            copying = copying or Copying(here, to, progress)
            figures.update(_counts(copying.bring(name)))
            figures["snapshots"] += 1
        except Unavailable:
            raise
        except BackupError as error:
            if isinstance(error, NotFound) and name not in here.snapshot_ids():
                continue  # it was let go meanwhile
            missed.append(f"{name} was not brought: {error}")
            copying = None  # what it knew may have changed: a prune at either side moves what is stored
    try:
        if there:
            figures.update(_counts((copying or Copying(here, to, progress)).mend(there)))
    except Unavailable:
        raise
    except BackupError as error:
        missed.append(f"not all that was there already is whole: {error}")
    made = Outcome("mirror", source, destination, figures=dict(figures), flaws=tuple(missed))
    return replace(made, state="incomplete") if missed else made


def _counts(figures: dict[str, float]) -> dict[str, int]:
    return {figure: int(value) for figure, value in figures.items()}


def _whole(at: Repository, names: Iterable[str]) -> set[str]:
    """Of these snapshots, those that are no more damaged there than a newer version's."""

    def look(name: str) -> str | None:
        with suppress(Damaged, NotFound):
            with suppress(NewerFormat):
                at.snapshot(name)
            return name
        return None

    return set(filter(None, ahead(look, names)))


@shared_task(name="mirror", bind=True, max_retries=None)
def mirror_task(self: Task[Any, Any], *, source: str, origin: str, destination: str, run: str) -> dict[str, Any]:
    """`run` is any new id, which makes a second delivery harmless."""

    def work(installation: Installation, progress: Progress) -> Outcome:
        return replace(mirror(installation, source, origin, destination, progress=progress), run=run)

    return run_step(self, Outcome("mirror", source, destination, run), None, work)

"""Put a snapshot back: all of it, or chosen paths."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any

from celery import Task, shared_task
from pydantic import Field, StrictBool

from tasks.asked import Into, RunId, checked
from tasks.chosen import Chosen, chosen_snapshot
from tasks.errors import BackupError, Damaged, NotFound, NotYet, Refused, Unavailable
from tasks.installation import Installation, current
from tasks.item import Stored
from tasks.outcome import Outcome, State
from tasks.portions import Portions
from tasks.progress import Progress, unheard
from tasks.record import Record, step_name
from tasks.repository import Items, Repository, Snapshot
from tasks.shared_restore import SharedRestore
from tasks.sharing import is_decided, share
from tasks.sources.not_restored import NotRestored
from tasks.sources.source import Continued, Divisible, Restoring, Served, Source
from tasks.step import Work, run_step
from tasks.stopwatch import Stopwatch
from tasks.target import Target, target_of
from tasks.watched import Watched

_ELSEWHERE_SECONDS = 5.0
"""Until a part is offered again that came to a host that can't do it."""


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
    items = repository.read(snapshot)
    if not (isinstance(wanted.into, Path) and isinstance(source, Divisible)):
        return _put_back(items, snapshot, source, wanted, progress=progress)
    lost = dict[str, None]()
    try:
        # Each file is worth something without the others.
        listed = items.as_far_as_listed(lambda error: lost.setdefault(str(error)))
        done = _put_back(listed, snapshot, source, wanted, progress=progress)
    except (Damaged, NotFound, Refused) as error:
        if lost:
            raise _not_listed(lost, str(error)) from error
        raise
    if lost:
        raise _not_listed(lost, "all else was restored")
    return done


def _not_listed(lost: Iterable[str], beside: str) -> Damaged:
    """`beside` that: what became of all else."""
    return Damaged(
        f"{beside}; but some of the list of what the snapshot holds is damaged ({next(iter(lost))}), and nobody knows"
        " what it names: another destination, or an older snapshot, may have it"
    )


def _put_back(
    items: Items, snapshot: Snapshot, source: Source, wanted: Wanted, *, progress: Progress
) -> tuple[dict[str, float], list[str]]:
    watch = Stopwatch()
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
    installation.source(source)
    repository = installation.repository(source, destination, reader=True)
    chosen = chosen_snapshot(repository, snapshot, destination)
    made = installation.source_of(source, chosen.kind)
    figures, missed = restore_from(repository, chosen, made, wanted, progress=progress)
    state: State = "incomplete" if missed else "done"
    return Outcome(
        "restore", source, destination, snapshot=chosen.id, state=state, figures=figures, flaws=tuple(missed)
    )


@shared_task(name="restore", bind=True, max_retries=None, throws=(BackupError,))
@checked
def restore_task(
    self: Task[Any, Any],
    *,
    source: str,
    destination: str,
    run: Annotated[RunId, Field(min_length=1)],
    into: Into,
    snapshot: str = "",
    patterns: tuple[str, ...] = (),
    overwrite: StrictBool = False,
    options: Mapping[str, tuple[str, ...]] | None = None,
) -> dict[str, Any]:
    """`into` is a folder on the worker's host; or a server's URL without a password, or where one is found
    (`env:NAME`, `file:PATH`), and then there are the `options` of the source's kind, a list each. `run` is any new id,
    which makes a second delivery harmless. Files that go into a folder are shared by all workers of the pool that see
    that folder, if they are many or large."""
    asked_for = Outcome("restore", source, destination, run, snapshot)
    asked = [into, snapshot, patterns, overwrite, options or {}]
    try:
        _check_same(asked_for, json.dumps(asked, sort_keys=True))
    except Unavailable as error:
        raise self.retry(countdown=5, exc=error) from error

    def work(installation: Installation, progress: Progress) -> Outcome:
        installation.source(source)
        repository = installation.repository(source, destination, reader=True)
        blank, found = _pinned(installation.record, asked_for, repository)
        made = installation.source_of(source, found.kind)
        target = target_of(made, into, options or {})
        wanted = Wanted(target, patterns, how=Restoring(overwrite=overwrite))
        if isinstance(target, Path) and isinstance(made, Divisible):

            def share_parts(portions: Portions) -> None:
                def of_all(figures: dict[str, float]) -> None:
                    progress(figures | {"total_bytes": float(portions.size)})

                blanks = [replace(blank, snapshot=portions.snapshot, part=str(n + 1)) for n in range(len(portions))]
                share(self, restore_part_task, blanks, _part_work, progress=of_all)

            done = restore_shared(installation, blank, wanted, progress=progress, sharing=share_parts)
            if done is not None:
                return done
        token = f"{os.getpid()}-{time.time_ns()}"
        begun = installation.record.first_said(run, f"{step_name(blank.verb, source, destination)} begun", token)
        wanted = replace(wanted, how=wanted.how._replace(again=begun != token, run=run))

        def put_back() -> Outcome:
            done = restore(installation, source, destination, wanted, snapshot=found.id, progress=progress)
            return replace(done, run=run)

        return _continued(installation.record, blank, made, wanted, put_back=put_back)

    return run_step(self, asked_for, None, work)


def _pinned(record: Record, blank: Outcome, repository: Repository) -> tuple[Outcome, Snapshot]:
    """With the snapshot that the run began with: another may be the newest by now."""
    what = f"{step_name(blank.verb, blank.source, blank.destination)} snapshot"
    known = blank.snapshot or record.said(blank.run, what)
    found = chosen_snapshot(repository, known or "", blank.destination)
    name = known or record.first_said(blank.run, what, found.id)
    return replace(blank, snapshot=name), found if name == found.id else repository.snapshot(name)


def _continued(
    record: Record, blank: Outcome, source: Source, wanted: Wanted, *, put_back: Callable[[], Outcome]
) -> Outcome:
    """Of a source that goes on by what it left: that is removed once it is noted what the run came to."""
    if not isinstance(source, Continued):
        return put_back()
    what = f"{step_name(blank.verb, blank.source, blank.destination)} came to"
    known = record.said(blank.run, what)
    done = Outcome.from_json(json.loads(known)) if known else put_back()
    if not known:
        record.first_said(blank.run, what, json.dumps(done.to_json()))
    with suppress(Unavailable):  # all is restored, and what is left there expires
        source.forget_run(wanted.into, wanted.how)
    return done


def _check_same(blank: Outcome, asked: str) -> None:
    """Raises `Refused` where something else was asked for by that id: it would get the answer to that."""
    step, digest = step_name(blank.verb, blank.source, blank.destination), blake2b(asked.encode()).hexdigest()
    if current().record.first_said(blank.run, f"{step} asked", digest) != digest:
        raise Refused(
            f"another restore of `{blank.source}` from `{blank.destination}` was asked for by the id `{blank.run}`:"
            " choose another id for this one"
        )


def restore_shared(
    installation: Installation,
    blank: Outcome,
    wanted: Wanted,
    *,
    progress: Progress = unheard,
    sharing: Callable[[Portions], None],
) -> Outcome | None:
    """Put back files into a folder, in portions if they are large: a second call for the same run goes on where the
    first was killed. None where it can't be done so: nothing was written. `sharing` has all portions put back."""
    made, into = installation.source(blank.source), wanted.into
    if not isinstance(into, Path) or not isinstance(made, Divisible):
        return None
    watch = Stopwatch()
    repository = installation.repository(blank.source, blank.destination, reader=True)
    shared = SharedRestore(installation.record, repository, blank.destination, blank.run)

    def snapshot() -> Snapshot:
        return chosen_snapshot(repository, blank.snapshot, blank.destination)

    overwrite, limits = wanted.how.overwrite, made.limits()
    portions = shared.divide(snapshot, into, wanted.patterns, overwrite=overwrite, limits=limits)
    if portions is None:
        return None
    try:
        if len(portions) > 1:
            sharing(portions)
        else:
            shared.put_back(portions, 1, progress)
        missed = NotRestored()
        missed.add_all(shared.finish(portions))
    except Unavailable:
        raise
    except BackupError:
        shared.give_up(portions)
        raise
    state: State = "incomplete" if missed.lines() else "done"
    parts = {"parts": len(portions)} if len(portions) > 1 else {}
    figures = {"items": portions.items, "restored_bytes": portions.size} | parts | watch.figures()
    return replace(blank, snapshot=portions.snapshot, state=state, figures=figures, flaws=tuple(missed.lines()))


@shared_task(name="restore.part", bind=True, max_retries=None)
def restore_part_task(self: Task[Any, Any], *, source: str, destination: str, run: str, number: str) -> dict[str, Any]:
    """One part of what a restore puts back; sent by the task that divided it, for whoever is free and sees the folder
    that it goes to. Who does not see it leaves the part to others."""
    blank = Outcome("restore", source, destination, run, part=number)
    return run_step(self, blank, None, _part_work(blank))


def _part_work(blank: Outcome) -> Work:
    def work(installation: Installation, progress: Progress) -> Outcome:
        repository = installation.repository(blank.source, blank.destination, reader=True)
        shared = SharedRestore(installation.record, repository, blank.destination, blank.run)
        portions, number = shared.portions(), int(blank.part)
        if portions is None:
            raise NotFound(f"`{blank.source}` is not divided in the run `{blank.run}`, or no more: restore again")
        if is_decided(blank):
            shared.clear(portions, number)
            return replace(blank, state="skipped")
        if not shared.is_seen(portions):
            raise NotYet(f"this host does not see the folder `{portions.into}` that it goes to", _ELSEWHERE_SECONDS)
        count, size = shared.put_back(portions, number, progress, lambda: not is_decided(blank))
        figures: dict[str, float] = {"items": count, "restored_bytes": size}
        return replace(blank, snapshot=portions.snapshot, figures=figures)

    return work

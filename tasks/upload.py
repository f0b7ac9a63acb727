"""Bring captures from the spool to a destination: tonight's, and whatever an earlier night could not bring."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

from celery import Task, shared_task

from tasks.errors import BackupError, Condemned, Damaged, NotFound, Unavailable
from tasks.installation import Installation
from tasks.outcome import Outcome
from tasks.progress import Progress, unheard
from tasks.repository import Repository
from tasks.sealed import Sealed
from tasks.step import run_step

_OBJECT = re.compile(r"`((?:index|packs|snapshots)/[0-9A-Za-z/-]+)`")
"""As errors name one."""


def upload(
    installation: Installation, source: str, destination: str, snapshot: str = "", *, progress: Progress = unheard
) -> Outcome:
    """Bring all captures of a source that wait in this host's spool to a destination, oldest first; what is there
    already is skipped. Raises what went wrong with `snapshot` (empty: none in particular); what went wrong with an
    older one makes the outcome *incomplete*, and is tried again next time unless it is condemned. So does one of
    which can't be told what it is, until it is removed.
    """
    blank = Outcome("upload", source, destination, snapshot=snapshot)
    spool, names = installation.spool, installation.destinations_of(source)
    if destination not in names:
        raise NotFound(f"`{destination}` is no destination of `{source}`: it has {', '.join(names)}")
    to = installation.repository(source, destination, create=True)
    installation.tidy_spool()
    figures: Counter[str] = Counter()
    missed: list[str] = []
    failure: BackupError | None = None
    for sealed in spool.pending(source, destination):
        try:
            copied = installation.spooled(sealed).copy(sealed.snapshot, to=to, progress=progress)
        except Unavailable:
            raise
        except BackupError as error:
            if isinstance(error, Condemned):
                spool.settle(sealed, destination, names)
            told = _with_advice(error, sealed)
            if sealed.snapshot == snapshot:
                failure = told
            else:
                missed.append(f"{sealed.snapshot} of an earlier run is not here: {told}")
            continue
        spool.settle(sealed, destination, names)
        figures.update({name: value for name, value in copied.items() if name != "seconds"})
        figures["snapshots"] += 1
    if failure:
        raise failure
    missed += spool.unreadable(source)
    if snapshot:
        _check_arrived(to, snapshot, destination, installation.settings.host)
    return replace(blank, state="incomplete" if missed else "done", figures=dict(figures), flaws=tuple(missed))


def _with_advice(error: BackupError, sealed: Sealed) -> BackupError:
    """Of an object that is damaged in the spool itself nobody has another: it is named with its folder."""
    names = _OBJECT.findall(str(error)) if isinstance(error, Damaged) else ()
    if any((sealed.folder / sealed.source / name).is_file() for name in names):
        run = sealed.folder.parent
        return Damaged(f"{error}. It lies in the spool: back up `{sealed.source}` again, then remove `{run}`")
    return error


def _check_arrived(to: Repository, snapshot: str, destination: str, host: str) -> None:
    try:
        to.snapshot(snapshot)
    except NotFound as error:
        raise NotFound(
            f"the snapshot `{snapshot}` is neither at `{destination}` nor in the spool of the host `{host}`:"
            " run `upload` on the host that captured it, or the backup again"
        ) from error


@shared_task(name="upload", bind=True, max_retries=None)
def upload_task(
    self: Task[Any, Any], previous: dict[str, Any] | None = None, *, source: str, destination: str, run: str
) -> dict[str, Any]:
    """`previous` is the outcome of the capture; without it, whatever waits in the spool is brought."""
    snapshot = previous["snapshot"] if previous else ""

    def work(installation: Installation, progress: Progress) -> Outcome:
        return replace(upload(installation, source, destination, snapshot, progress=progress), run=run)

    return run_step(self, Outcome("upload", source, destination, run, snapshot), previous, work)

"""Bring captures from the spool to a destination: tonight's, and whatever an earlier night could not bring."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

from celery import Task, shared_task

from tasks.errors import BackupError, Condemned, Damaged, NotFound, Unavailable
from tasks.installation import Installation, check_same_history
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
    which can't be told what it is, until it is removed; and one that relies on another destination that is away.
    """
    blank = Outcome("upload", source, destination, snapshot=snapshot)
    spool, names = installation.spool, installation.destinations_of(source)
    if destination not in names:
        raise NotFound(f"`{destination}` is no destination of `{source}`: it has {', '.join(names)}")
    to = installation.repository(source, destination, create=True)
    installation.tidy_spool()
    spool.clear_settled(source, names)
    bringing = _Bringing(installation, destination, to, progress)
    figures: Counter[str] = Counter()
    missed: list[str] = []
    failure: BackupError | None = None
    for sealed in spool.pending(source, destination):
        try:
            copied = bringing.bring(sealed)
        except _ReferenceAway as error:
            if sealed.snapshot == snapshot:
                raise Unavailable(str(error)) from error
            missed.append(f"{sealed.snapshot} of an earlier run is not here yet: {error}")
            continue
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


class _ReferenceAway(Unavailable):
    """Of a capture: it relies on what only a destination that is away has. Others can be brought."""


class _Bringing:
    """To one destination. What a capture relies on beside the spool is looked for where it was found when it was made;
    where that is away, has lost it, or is no destination any more, in the place it is brought to, which mostly has it
    as well."""

    def __init__(self, installation: Installation, destination: str, to: Repository, progress: Progress) -> None:
        self._installation, self._destination = installation, destination
        self._to, self._progress = to, progress
        self._away: dict[str, Unavailable] = {}

    def bring(self, sealed: Sealed) -> dict[str, float]:
        """Raises what `copy` does, and `_ReferenceAway`."""
        reference, away = sealed.reference, self._away
        failure: BackupError | None = None
        if reference in self._installation.settings.destinations and reference not in away:
            try:
                return self._copy(sealed)
            except BackupError as error:
                if reference == self._destination:
                    raise
                failure = error
                if isinstance(error, Unavailable):
                    away[reference] = error
        try:
            return self._copy(sealed, over=self._destination)
        except Unavailable:
            raise
        except BackupError:
            if reference in away:
                raise _ReferenceAway(f"it relies on `{reference}`: {away[reference]}") from away[reference]
            if failure:
                raise failure from None
            raise

    def _copy(self, sealed: Sealed, over: str = "") -> dict[str, float]:
        spooled = self._installation.spooled(sealed, over)
        check_same_history(spooled, self._to, sealed.source, self._destination)
        return spooled.copy(sealed.snapshot, to=self._to, progress=self._progress)


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

"""Bring captures from the spool to a destination: tonight's, and whatever an earlier night could not bring."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from celery import Task, shared_task

from tasks.errors import BackupError, Condemned, NotFound, Unavailable
from tasks.installation import Installation
from tasks.outcome import Outcome
from tasks.progress import Progress, unheard
from tasks.record import step_name
from tasks.repository import Repository
from tasks.step import run_step


def upload(
    installation: Installation, source: str, destination: str, snapshot: str = "", *, progress: Progress = unheard
) -> Outcome:
    """Bring all captures of a source that wait in this host's spool to a destination, oldest first; what is there
    already is skipped. Raises what went wrong with `snapshot` (empty: none in particular); what went wrong with an
    older one makes the outcome *incomplete*, and is tried again next time unless it is condemned.
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
            if sealed.snapshot == snapshot:
                failure = error
            else:
                missed.append(f"{sealed.snapshot} of an earlier run is not here: {error}")
            continue
        spool.settle(sealed, destination, names)
        figures.update({name: value for name, value in copied.items() if name != "seconds"})
        figures["snapshots"] += 1
    if failure:
        raise failure
    if snapshot:
        _check_arrived(to, snapshot, destination, installation.settings.host)
    return replace(blank, state="incomplete" if missed else "done", figures=dict(figures), flaws=tuple(missed))


def _check_arrived(to: Repository, snapshot: str, destination: str, host: str) -> None:
    try:
        to.snapshot(snapshot)
    except NotFound as error:
        raise NotFound(
            f"the snapshot `{snapshot}` is neither at `{destination}` nor in the spool of the host `{host}`:"
            " run `upload` on the host that captured it, or the backup again"
        ) from error


def send_late(installation: Installation, now: datetime, silence: timedelta) -> list[str]:
    """Have brought what lies in this host's spool though its run is over: the host was away when it should have been,
    or another captured the same. Each once a day, on each host; sent again where nothing came of it for `silence`, and
    after twice that time, as the broker may have lost the message. Returns the names of the steps."""
    record, spool, sent = installation.record, installation.spool, list[str]()
    host = installation.settings.host
    for sealed in spool.all_sealed():
        source, run = sealed.source, sealed.run
        if source not in installation.settings.sources or not (record.has_report(run) or record.run(run) is None):
            continue
        mark = hashlib.blake2b(f"{host} {run}".encode(), digest_size=4).hexdigest()  # however long these are
        late = f"late-{now:%Y%m%d}-{mark}-{run}"[:100]
        for destination in installation.destinations_of(source):
            step = step_name("upload", source, destination)
            if spool.is_settled(sealed, destination) or record.outcome(late, step) or record.is_leased(late, step):
                continue
            if record.is_turn_again(late, step, silence.total_seconds()):
                previous = sealed.outcome | {"host": host}  # so that it is routed here
                upload_task.apply_async((previous,), {"source": source, "destination": destination, "run": late})
                sent.append(step)
    return sent


@shared_task(name="upload", bind=True, max_retries=None)
def upload_task(
    self: Task[Any, Any], previous: dict[str, Any] | None = None, *, source: str, destination: str, run: str
) -> dict[str, Any]:
    """`previous` is the outcome of the capture; without it, whatever waits in the spool is brought."""
    snapshot = previous["snapshot"] if previous else ""

    def work(installation: Installation, progress: Progress) -> Outcome:
        return replace(upload(installation, source, destination, snapshot, progress=progress), run=run)

    return run_step(self, Outcome("upload", source, destination, run, snapshot), previous, work)

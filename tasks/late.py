"""What lies in a host's spool though its run is over: brought after all, by the host's own workers."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from celery import Task, shared_task

from tasks.installation import Installation, current
from tasks.record import step_name
from tasks.upload import upload_task

_log = structlog.get_logger(__name__)


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


@shared_task(name="spool.tend", bind=True, max_retries=0, ignore_result=True)
def tend_spool_task(self: Task[Any, Any]) -> None:
    """What the worker that serves a host's own queue asks of it every so often."""
    installation, now = current(), datetime.now(UTC)
    installation.tidy_spool()
    silence = timedelta(seconds=2 * float(self.app.conf.broker_transport_options["visibility_timeout"]))
    for step in send_late(installation, now, silence):
        _log.warning("left in the spool, and sent after all", step=step)

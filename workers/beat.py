"""`celery beat`, of which any number may run: one is active, and when it is gone another goes on where it was."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import structlog
from celery.beat import ScheduleEntry, Scheduler, SchedulingError

from tasks.beat_record import BeatRecord
from tasks.broker import broker_url, connect
from tasks.errors import Unavailable
from tasks.installation import current
from tasks.report import last_started
from workers.schedule import PLAN
from workers.signals import alive

LEASE_SECONDS = float(os.environ.get("GEOMETRA_BACKUP_BEAT_LEASE_SECONDS", "30"))
"""How long after the active one was killed another may take over."""
_LOOK_SECONDS = LEASE_SECONDS / 3
"""How often each looks: so a standby is active after four thirds of that time at most."""

_CLOCKS_DIFFER = timedelta(minutes=1)
_SAME = timedelta(milliseconds=1)
_LONG_AGO = datetime.fromtimestamp(0, UTC)

_log = structlog.get_logger(__name__)


class OneBeat(Scheduler):
    """Sends only while it has the lease. A stopped one that goes on after another took over may send once more: the
    record has one run for each time that a plan is due, whoever sends it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._name = f"{current().settings.host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._active = False
        self._noted: dict[str, datetime] = {}
        super().__init__(*arguments, **options)

    @cached_property
    def _beats(self) -> BeatRecord:
        return BeatRecord(connect(broker_url(current().settings)))

    def tick(self, *arguments: Any, **options: Any) -> float:
        """Seconds until the next look."""
        try:
            taken = self._beats.take(self._name, LEASE_SECONDS)
            alive()
            if not taken:
                self._become(active=False)
                return _LOOK_SECONDS
            if not self._active or self._is_ahead(datetime.now(UTC)) or self._is_forgotten():
                self._go_on()
                self._become(active=True)
        except Unavailable as error:
            _log.warning("beat waits", error=str(error))
            self._active = False
            return min(_LOOK_SECONDS, 5.0)
        wait: float = super().tick(*arguments, **options)
        return min(wait, _LOOK_SECONDS)

    def apply_async(self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **options: Any) -> Any:
        """Sent first and noted then: what is sent twice is begun once."""
        try:
            sent = super().apply_async(entry, producer=producer, advance=advance, **options)
            now = datetime.now(UTC)
            self._beats.mark(str(entry.name), now)
            self._noted[str(entry.name)] = now
        except (SchedulingError, Unavailable):
            self._active = False  # the next look begins from what was noted, so it is sent again
            raise
        return sent

    def close(self) -> None:
        """The next one need not wait."""
        with suppress(Unavailable):
            self._beats.release(self._name)
        super().close()

    def _go_on(self) -> None:
        """Where the last active one has ended. What a clock that has been put back had noted may be years ahead: it is
        not waited for."""
        noted, latest = self._beats.sent(), datetime.now(UTC) + _CLOCKS_DIFFER
        is_blank = not noted.keys() & self.schedule.keys()
        for name, entry in self.schedule.items():
            if name in noted:
                entry.last_run_at = noted[name] if noted[name] <= latest else _LONG_AGO
                self._noted[name] = noted[name]
            else:
                entry.last_run_at = self._since(name, entry, is_blank=is_blank)
                self._beats.mark(name, entry.last_run_at)
                if name in self._noted:
                    self._noted[name] = entry.last_run_at
        self._beats.keep_only(self.schedule)
        self._heap = None

    def _is_ahead(self, now: datetime) -> bool:
        """Whether what was sent last was sent later than now."""
        sent = (entry.last_run_at for entry in self.schedule.values())
        return any(last is not None and last > now + _CLOCKS_DIFFER for last in sent)

    def _is_forgotten(self) -> bool:
        """Whether the broker lost what was noted, or has an older note: it may have come back with none of its data, or
        with old data, so soon that it never seemed to be away."""
        kept = self._beats.sent()
        return any(kept.get(name, _LONG_AGO) < when - _SAME for name, when in self._noted.items())

    def _since(self, name: str, entry: ScheduleEntry, *, is_blank: bool) -> datetime:
        """From when on what is due is sent, of an entry that nothing is noted of: a new one begins now. If the broker
        has lost what was noted, it may have lost a run too: the last one is asked for again, and the worker looks
        whether that has ended. A beat that is as new as the broker's data looks itself when the last one began."""
        plan = name.removeprefix(PLAN)
        if plan != name and name in self._noted:
            return _LONG_AGO
        began = last_started(current().reports, plan) if plan != name and is_blank else None
        return began or entry.last_run_at or datetime.now(UTC)

    def _become(self, *, active: bool) -> None:
        if active != self._active:
            _log.info("beat is active" if active else "beat stands by", beat=self._name)
        self._active = active

"""A lease on one step of a run, kept alive by a thread while the work goes on."""

from __future__ import annotations

import threading
import uuid
from types import TracebackType

from tasks.errors import Unavailable
from tasks.record import Record


class LeaseLost(Exception):
    """Someone else works on the step now: this process was stopped or cut off for longer than the lease lasts."""


class Lease:
    """Use as a context manager once `taken`. Leaving it gives the lease back; a killed process never does, and after
    `seconds` the lease runs out, to be counted in the next holder's `lost`."""

    def __init__(self, record: Record, run: str, step: str, seconds: float) -> None:
        self._record, self._run, self._step, self._seconds = record, run, step, seconds
        self._token = uuid.uuid4().hex
        self._over = threading.Event()
        self._superseded = False
        self._thread = threading.Thread(target=self._renew, name=f"lease {step}", daemon=True)
        taken = record.take(run, step, self._token, seconds)
        self.taken = taken is not None
        self.lost = taken or 0

    def check(self) -> None:
        """Raises `LeaseLost`. Work calls it, through its progress, so that it soon stops."""
        if self._superseded:
            raise LeaseLost(self._step)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(timeout=5)
        try:
            self._record.release(self._run, self._step, self._token)
        except Unavailable:
            if error is None:
                raise

    def _renew(self) -> None:
        while not self._over.wait(self._seconds / 4):
            try:
                if not self._record.renew(self._run, self._step, self._token, self._seconds):
                    self._superseded = not self._over.is_set()
                    return
                self._record.touch(self._run)
            except Unavailable:
                continue  # the broker may be back before the lease runs out; the work itself does not need it

"""A lease on one step of a run, kept alive by a thread while the work goes on."""

from __future__ import annotations

import fcntl
import os
import platform
import threading
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType

from tasks.errors import Unavailable
from tasks.record import Record

_SWEPT_SECONDS = 3600.0
"""So old is a dead process's lock file that nobody came to ask about."""

_GIVEN_BACK_SECONDS = 3600.0
"""For so long a broker that is away is waited for, to give a lease back."""


class LeaseLost(Exception):
    """Someone else works on the step now: this process was stopped or cut off for longer than the lease lasts."""


class Lease:
    """Use as a context manager once `taken`. Leaving it gives the lease back; a killed process never does, and after
    `seconds` the lease runs out, to be counted in the next holder's `lost`.

    `locks` is a folder of this host. Who holds a lease holds a lock there too, which a kill releases at once: so a step
    whose process is gone is taken over by this host without waiting. Only the first time: what it was killed for, such
    as too little memory, gets the time of a lease to pass.
    """

    def __init__(self, record: Record, run: str, step: str, seconds: float, *, locks: Path) -> None:
        self._record, self._run, self._step, self._seconds = record, run, step, seconds
        self._token = f"{_machine()}-{uuid.uuid4().hex}"
        self._over = threading.Event()
        self._superseded = self._cut_off = False
        self._thread = threading.Thread(target=self._renew, name=f"lease {step}", daemon=True)
        self._lock = _Lock(locks / self._token)
        try:
            taken = record.take(run, step, self._token, seconds)
            if taken is None and self._holder_died(locks):
                taken = record.take(run, step, self._token, seconds)
        except BaseException:
            self._lock.release()
            raise
        if taken is None:
            self._lock.release()
        self.taken = taken is not None
        self.lost = taken or 0

    def check(self) -> None:
        """Raises `LeaseLost`. Work calls it, through its progress, so that it soon stops."""
        if self._superseded:
            raise LeaseLost(self._step)

    def is_held(self) -> bool:
        """Asks the record, which `check` does not: a process that was stopped for long does not know yet."""
        return self._record.renew(self._run, self._step, self._token, self._seconds)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(timeout=5)
        try:
            self._record.release(self._run, self._step, self._token, cut_off=self._cut_off)
        except Unavailable:
            threading.Thread(target=self._give_back, name=f"give back {self._step}", daemon=True).start()
            if error is None:
                raise
        finally:
            self._lock.release()

    def _give_back(self) -> None:
        """Once the broker is back: a process that lives is no loss."""
        end = time.monotonic() + _GIVEN_BACK_SECONDS
        while time.monotonic() < end:
            time.sleep(self._seconds / 4)
            with suppress(Unavailable):
                self._record.release(self._run, self._step, self._token, cut_off=True)
                return

    def _renew(self) -> None:
        while not self._over.wait(self._seconds / 4):
            try:
                if not self._record.renew(self._run, self._step, self._token, self._seconds):
                    self._superseded = not self._over.is_set()
                    return
                self._record.touch(self._run, step=self._step)
            except Unavailable:
                self._cut_off = True
                continue  # the broker may be back before the lease runs out; the work itself does not need it

    def _holder_died(self, locks: Path) -> bool:
        holder = self._record.holder(self._run, self._step)
        if holder is None:
            return True  # it has just been given back
        if self._record.losses(self._run).get(self._step) != 1 or not holder.startswith(f"{_machine()}-"):
            return False
        return _is_free(locks / holder) and self._record.drop(self._run, self._step, holder)


class _Lock:
    """A file that is locked while its process lives. What the disk refuses is let be: then the lease runs out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(path.parent)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None


@cache
def _machine() -> str:
    """Tells apart what does not see each other's locks, whatever disk they share; the same for all containers of one
    machine, and new after each boot."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")[:16]
    return platform.node()


def _is_free(path: Path) -> bool:
    """Whether the process that made this file on this host is gone; then the file goes too."""
    with suppress(OSError), path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return True
    return False


def _sweep(folder: Path) -> None:
    for path in folder.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _SWEPT_SECONDS:
                _is_free(path)

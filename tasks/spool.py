"""Captures on this host that are not at every destination yet: a folder per source and run, whole after any kill.

    <source>/<run>/attempt-<random>/    what a capture writes: a local destination, and `.alive`, locked meanwhile
    <source>/<run>/attempt-<part>-<random>/   the same for a part of one: it counts for no run, and is never sealed
    <source>/<run>/sealed.json          created once: which attempt counts, and what it came to
    <source>/<run>/settled-<name>       that destination has it, or never will

Each attempt has a folder of its own, so a capture that was thought dead and is not spoils nothing; the lock tells the
dead from the living, for a kill releases it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tasks.errors import BackupError, Damaged, Refused, Unavailable
from tasks.file_lock import is_mine
from tasks.run_keys import check_run, is_run
from tasks.sealed import Sealed, read_sealed, translated, write_sealed
from tasks.values import is_name

_TRASH = ".trash-"
_ALIVE = ".alive"
_SCRATCH = ".scratch"
_TRIES = 5
_ABANDONED_SECONDS = 2 * 24 * 3600
"""So long after an unsealed attempt began, and nobody holds its lock, nobody will come back to it."""


class Spool:
    """Raises `NoSpace` and `Unavailable` for what the disk refuses. Safe in threads and processes of one host. Folders
    that are none of its own, such as a disk's `lost+found`, are left alone; one that can't be looked into is in the way
    of its own source alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def attempt(self, source: str, run: str, part: str = "") -> Iterator[Path]:
        """A folder to capture into; seal it before leaving. A new one, or one that a killed capture of the same run
        left with what it had stored. Kept for the next try where something is `Unavailable`, else removed on error."""
        start = f"attempt-{part}-" if part else "attempt-"
        folder, lock = self._adopted(source, run, start) or self._created(source, run, start)
        with lock:
            try:
                yield folder
            except Unavailable:
                raise
            except Exception:
                self.clear(folder)
                raise

    def _adopted(self, source: str, run: str, start: str) -> tuple[Path, IO[str]] | None:
        for folder in _found(self._run(source, run), f"{start}*"):
            if "-" in folder.name.removeprefix(start):
                continue  # of a part
            with suppress(OSError):
                lock = (folder / _ALIVE).open("r+")
                if is_mine(lock):
                    return folder, lock
                lock.close()
        return None

    def _created(self, source: str, run: str, start: str) -> tuple[Path, IO[str]]:
        folder = self._run(source, run) / f"{start}{secrets.token_hex(6)}"
        try:
            _make(folder)
            lock = (folder / _ALIVE).open("x")
            if not is_mine(lock):
                lock.close()
                raise Unavailable(f"the spool `{folder}` was taken by another capture of the same run")
        except OSError as error:
            raise translated(error, Path(error.filename or folder)) from error
        return folder, lock

    def scratch(self, attempt: Path) -> Path:
        """An empty folder on the attempt's disk, for what is not whole yet."""
        folder = attempt / _SCRATCH
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise translated(error, folder) from error
        return folder

    def seal(self, attempt: Path, snapshot: str, reference: str, outcome: dict[str, Any]) -> Sealed:
        """Make an attempt the one that counts for its run. If another was sealed before, this one is dropped and that
        one returned."""
        folder = attempt.parent
        try:
            write_sealed(attempt, snapshot, reference, outcome)
        except OSError as error:
            raise translated(error, folder) from error
        sealed = self.sealed(folder.parent.name, folder.name)
        if sealed is None:
            raise Unavailable(f"the spool `{folder}` was cleared while a capture was being sealed")
        if sealed.folder != attempt:
            self.discard(attempt)
        return sealed

    def sealed(self, source: str, run: str) -> Sealed | None:
        """Raises `Damaged` and `Refused` where it can't be told what counts."""
        return read_sealed(self._run(source, run))

    def all_sealed(self) -> list[Sealed]:
        return [sealed for _, sealed in self._runs() if sealed]

    def unreadable(self, source: str) -> list[str]:
        """A line for each run of which it can't be told what counts: it is left as it is, and not brought anywhere."""
        lines = []
        for folder in self._runs_of(source):
            try:
                read_sealed(folder)
            except (Damaged, Refused) as error:
                lines.append(str(error))
        return lines

    def is_settled(self, sealed: Sealed, destination: str) -> bool:
        return (sealed.folder.parent / f"settled-{destination}").exists()

    def pending(self, source: str, destination: str) -> list[Sealed]:
        """What is not settled with that destination, oldest first."""
        sealed = (sealed for _, sealed in _read(self._runs_of(source), Damaged, Refused) if sealed)
        waiting = [each for each in sealed if not self.is_settled(each, destination)]
        return sorted(waiting, key=lambda each: each.snapshot)

    def settle(self, sealed: Sealed, destination: str, destinations: Collection[str]) -> None:
        """That destination has it, or never will. Cleared once that is so of all of the source's `destinations`; the
        last one leaves no mark, as after a kill behind it nobody would come back to clear."""
        folder, others = sealed.folder.parent, set(destinations) - {destination}
        try:
            if not all(self.is_settled(sealed, name) for name in others):
                (folder / f"settled-{destination}").touch()
            if all(self.is_settled(sealed, name) for name in others):
                self.discard(folder)
        except FileNotFoundError:
            return  # cleared meanwhile, by the upload to another destination
        except OSError as error:
            raise translated(error, folder) from error

    def clear_settled(self, source: str, destinations: Collection[str]) -> None:
        """Remove what all of a source's `destinations` have: another one, which had not, is none of them any more."""
        for folder, sealed in _read(self._runs_of(source), Damaged, Refused):
            if sealed and all(self.is_settled(sealed, name) for name in destinations):
                with suppress(Unavailable):  # another user's
                    self.discard(folder)

    def is_empty(self) -> bool:
        return not self._all_runs() and not _found(self.folder, f"{_TRASH}*")

    def used(self) -> int:
        """Bytes in the spool, of whatever."""
        return _bytes_below(self.folder)

    def drop_stored(self) -> int:
        """Remove the packs of sealed captures that the destination they rely on has: others that do not take them can
        get them from there. Returns bytes."""
        dropped = 0
        for folder, sealed in self._runs():
            if sealed and (folder / f"settled-{sealed.reference}").exists():
                for pack in _found(sealed.folder / sealed.source / "packs", "*/*"):
                    with suppress(FileNotFoundError):
                        dropped += pack.stat().st_size
                        pack.unlink()
        return dropped

    def discard(self, folder: Path) -> None:
        """Remove a run's folder or an attempt: at once out of sight, then for good."""
        trash = self.folder / f"{_TRASH}{secrets.token_hex(6)}"
        try:
            folder.rename(trash)
        except FileNotFoundError:
            return
        except OSError as error:
            raise translated(error, folder) from error
        if trash.is_dir():
            shutil.rmtree(trash, ignore_errors=True)
        else:
            trash.unlink(missing_ok=True)

    def clear(self, attempt: Path) -> None:
        """Remove an attempt that has served its purpose, and its run's folder if there is nothing else in it."""
        self.discard(attempt)
        with suppress(OSError):  # not empty
            attempt.parent.rmdir()

    def collect(
        self, now: float | None = None, *, is_over: Callable[[str, str], bool] = lambda source, run: False
    ) -> int:
        """Remove what killed processes left: half-removed folders; attempts and drafts that nobody works on, and that
        do not count, whose capture `is_over` (asked by source and run), or were left long ago. Returns how many. What
        may not be removed, as it is another user's, stays."""
        oldest = (time.time() if now is None else now) - _ABANDONED_SECONDS
        leftovers = _found(self.folder, f"{_TRASH}*")
        for folder, sealed in self._runs():
            parts = {*_found(folder, "attempt-*"), *_found(folder, "draft-*")} - {sealed.folder if sealed else folder}
            useless = bool(parts) and (bool(sealed) or is_over(folder.parent.name, folder.name))
            dead = [part for part in parts if _is_dead(part, useless=useless, oldest=oldest)]
            counts = sealed
            if dead:
                # Asked again: it may have been sealed, and let go of, since.
                try:
                    counts = read_sealed(folder)
                except BackupError:
                    continue
                leftovers += [part for part in dead if not counts or part != counts.folder]
            if counts and not counts.folder.exists():  # by another's hand: nobody can bring it any more
                leftovers.append(folder)
        removed = 0
        for path in leftovers:
            with suppress(Unavailable):
                self.discard(path)
                removed += 1
        for folder in self._all_runs():
            with suppress(OSError):  # not empty, or gone
                folder.rmdir()
        return removed

    def _runs(self) -> Iterator[tuple[Path, Sealed | None]]:
        """The folder of each run, and what is sealed in it; without those of which it can't be told."""
        return _read(self._all_runs(), BackupError)

    def _all_runs(self) -> list[Path]:
        runs = list[Path]()
        for source in filter(is_name, _names(self.folder)):
            with suppress(Unavailable):  # who asks for that source is told
                runs += self._runs_of(source)
        return runs

    def _runs_of(self, source: str) -> list[Path]:
        return [self.folder / source / run for run in _names(self.folder / source) if is_run(run)]

    def _run(self, source: str, run: str) -> Path:
        return self.folder / source / check_run(run)


def _read(runs: Iterable[Path], *without: type[BackupError]) -> Iterator[tuple[Path, Sealed | None]]:
    for folder in runs:
        try:
            sealed = read_sealed(folder)
        except without:
            continue
        yield folder, sealed


def _bytes_below(folder: Path | str) -> int:
    found = 0
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found += _bytes_below(entry.path)
            else:
                with suppress(FileNotFoundError):  # what another process has just removed
                    found += entry.stat(follow_symlinks=False).st_size
    return found


def _make(folder: Path) -> None:
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            folder.mkdir(mode=0o700, parents=True)
            return
        # Another capture's `collect` took the run's folder away while it was still empty.
    folder.mkdir(mode=0o700, parents=True)


def _found(folder: Path, pattern: str) -> list[Path]:
    """Sorted; nothing where another process takes the folder away meanwhile, or it may not be looked into."""
    try:
        return sorted(folder.glob(pattern))
    except (FileNotFoundError, PermissionError):
        return []


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise translated(error, folder) from error


def _is_dead(part: Path, useless: bool, oldest: float) -> bool:
    """Whether nobody works on an attempt or a draft, nor will: for one that is `useless`, as another counts, as soon as
    nobody does, else after a time."""
    alive = part / _ALIVE
    try:
        if not alive.is_file():
            return part.stat().st_mtime < oldest
        with alive.open("r+") as lock:
            return (useless or alive.stat().st_mtime < oldest) and is_mine(lock)
    except OSError:
        return False

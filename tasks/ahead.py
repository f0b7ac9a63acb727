"""What a capture has packed goes on to the source's destinations while it still runs: so a spool of a few GB is enough
for a source of any size.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType

import structlog

from tasks.cores import cores
from tasks.destinations import Data, Destination, Listed
from tasks.destinations.destination import whole
from tasks.errors import BackupError, Exists, Unavailable
from tasks.progress import Progress, unheard
from tasks.spool import Spool

PATIENCE = float(os.environ.get("GEOMETRA_BACKUP_PATIENCE", "300"))
"""Seconds for which a capture waits for a destination that takes no pack. Then any but the one it relies on is left
behind; that one has it fail, to be tried again, unless packs are still on their way to it, however slow the line is."""

STREAMS = 3
"""Packs on their way to one destination at a time, each from a file."""
_PACK = 34 << 20
"""Bytes of a pack at most, but for a rare one."""
_LOOK_SECONDS = 0.2
_RETRY_SECONDS = 2.0

_log = structlog.get_logger(__name__)


class Ahead:
    """The destination that a capture writes to: `into`, the folder of its attempt in the spool. Once the spool is half
    full, or from the start if `at_once`, packs are sent on, and removed as soon as all of the `destinations` have them;
    what the quota does not allow waits for that. Use as a context: its threads end with it.

    The first of the destinations is the one that the capture relies on: no pack is removed before it is there, and what
    another one lacks when it is left behind can be copied from there. `open` gives the place at a destination.
    """

    def __init__(
        self,
        into: Destination,
        spool: Spool,
        quota: int,
        destinations: Sequence[str],
        *,
        open: Callable[[str], Destination],  # noqa: A002 - what it does
        at_once: bool = False,
    ) -> None:
        self._into, self._spool, self._open, self._at_once = into, spool, open, at_once
        # Each thread that packs, two at least, may have one more pack when it comes to wait.
        self._full = max(quota - max(2, cores()) * _PACK, quota // 2)
        self._state = threading.Condition()
        self._over = False
        self._ways = [_Way(name) for name in destinations]
        self._packs: set[str] = set()
        self.sent_bytes = 0
        self.waited_seconds = 0.0

    def __enter__(self) -> Ahead:
        for listed in self._into.list("packs/"):  # of a capture that was killed
            self._add(listed.name)
        if self._at_once:
            self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._state:
            self._over = True
            self._state.notify_all()
        for way in self._ways:
            for thread in way.threads:
                thread.join()

    def put(self, name: str, data: Data) -> None:
        """Raises `Unavailable` where a pack has waited for room in vain."""
        if not name.startswith("packs/"):
            self._into.put(name, data)
            return
        self._wait_for_room()
        self._into.put(name, data)
        with self._state:
            self._add(name)
            self._state.notify_all()

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._into.get(name, offset, length)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return self._into.list(prefix)

    def delete(self, name: str) -> None:
        self._into.delete(name)

    def drain(self, progress: Progress = unheard) -> None:
        """Wait until the first destination has all that was put, packs and then their indexes, and the others have the
        packs or are left behind. Raises what keeps the first from it."""
        self._start()
        self._wait(lambda: bool(self._packs), progress)
        first = self._open(self._ways[0].name)
        for name, _ in list(self._into.list("index/")):
            with suppress(Exists):
                first.put(name, self._into.get(name))

    def figures(self) -> dict[str, float]:
        """Empty where nothing was sent ahead."""
        if not self._ways[0].threads:
            return {}
        return {"sent_ahead_bytes": self.sent_bytes, "waited_for_room_seconds": self.waited_seconds}

    def _add(self, name: str) -> None:
        self._packs.add(name)
        for way in self._ways:
            way.add(name)
        self._settle(name)

    def _wait_for_room(self) -> None:
        used = self._spool.used()
        if used > self._full // 2:
            self._start()
        if used > self._full:
            began = time.monotonic()
            try:
                self._wait(lambda: self._spool.used() > self._full)
            finally:
                with self._state:
                    self.waited_seconds += time.monotonic() - began

    def _start(self) -> None:
        with self._state:
            for way in self._ways:
                if not way.threads and not self._over:
                    way.moved = time.monotonic()
                    way.threads = [
                        threading.Thread(target=self._send, args=(way,), name=f"ahead {way.name}", daemon=True)
                        for _ in range(STREAMS)
                    ]
                    for thread in way.threads:
                        thread.start()

    def _wait(self, needed: Callable[[], bool], progress: Progress = unheard) -> None:
        """Until something is not `needed` any more. Gives up what does not move, as far as it is not needed."""
        since, before = time.monotonic(), -1
        while needed():
            if (used := self._spool.used()) != before:
                since, before = time.monotonic(), used
            progress({"done_bytes": self.sent_bytes, "total_bytes": 0, "items": 0})
            with self._state:
                for way in self._ways[1:]:
                    if way.lacks and (way.failure or way.silent() > PATIENCE):
                        self._leave_behind(way)
                if self._ways[0].failure:
                    raise self._ways[0].failure
                if self._over:
                    raise Unavailable("the capture was broken off")
                self._state.wait(_LOOK_SECONDS)
            if time.monotonic() - since > PATIENCE:
                with self._state:  # another thread that waits may be making room right now
                    if self._is_stuck(before) and not self._spool.drop_stored():
                        self._give_up()

    def _is_stuck(self, used: int) -> bool:
        """Nothing is on its way any more that would make room in a spool of so many bytes. Those that may be left
        behind come first: that makes room."""
        first, *others = self._ways
        moves = first.lacks and (first.silent() <= PATIENCE or first.trusted)
        return not moves and not any(way.lacks for way in others) and self._spool.used() == used

    def _leave_behind(self, way: _Way) -> None:
        why = str(way.failure or way.trouble or "it takes nothing")
        advice = "the next upload to it brings what it lacks, from the first destination"
        _log.warning("destination left behind", destination=way.name, error=why, advice=advice)
        way.left_behind = True
        lacking = list(way.lacks)
        way.lacks.clear()
        for name in lacking:
            self._settle(name)

    def _give_up(self) -> None:
        first = self._ways[0]
        if first.trouble and first.lacks:
            raise Unavailable(f"the capture waits for `{first.name}`, which takes nothing: {first.trouble}")
        raise Unavailable(
            f"the spool `{self._spool.folder}` is full of what waits to be uploaded: `status` names what that is and"
            " what keeps it from its destination; or raise `spool_quota`"
        )

    def _send(self, way: _Way) -> None:
        """One stream."""
        while (name := self._next(way)) is not None:
            try:
                size = self._bring(name, way)
            except Unavailable as error:
                with self._state:
                    way.trouble = error
                    way.ended(name)
                    self._state.wait_for(lambda: self._over, _RETRY_SECONDS)
            except BaseException as error:  # noqa: BLE001 - told to who waits for this destination
                with self._state:
                    way.failure = error if isinstance(error, BackupError) else Unavailable(type(error).__name__)
                    way.ended(name)
                    self._state.notify_all()
            else:
                with self._state:
                    way.landed(name)
                    self.sent_bytes += size
                    self._settle(name)
                    self._state.notify_all()

    def _next(self, way: _Way) -> str | None:
        """Waits for a pack that the destination lacks. None at the end."""
        with self._state:
            while not self._over and not way.left_behind and not way.failure:
                name = next((name for name in way.lacks if name not in way.flying), None)
                if name is not None:
                    way.began(name)
                    return name
                self._state.wait()
            return None

    def _bring(self, name: str, way: _Way) -> int:
        """Bytes that were sent; none if the pack is there, where an earlier try has brought it."""
        there = way.place(self._open)
        if name in way.there:
            return 0
        data = whole(self._into, name)
        size = len(data) if not isinstance(data, os.PathLike) else os.stat(data).st_size
        with suppress(Exists):
            there.put(name, data)
        return size

    def _settle(self, name: str) -> None:
        """Remove a pack that nobody lacks any more."""
        if name in self._packs and not any(name in way.lacks for way in self._ways):
            self._into.delete(name)
            self._packs.discard(name)


class _Way:
    """To one destination: `lacks` are the packs to be sent, those `flying` among them, in the order of packing. Those
    `trusted` were begun when nothing had failed since something landed: each ends by itself where it stands still."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.threads: list[threading.Thread] = []
        self.lacks: dict[str, None] = {}
        self.flying: set[str] = set()
        self.trusted: set[str] = set()
        self.there: set[str] = set()
        self.left_behind = False
        self.failure: BackupError | None = None
        self.trouble: Unavailable | None = None
        self.moved = 0.0
        self._opening = threading.Lock()
        self._place: Destination | None = None

    def place(self, open_destination: Callable[[str], Destination]) -> Destination:
        with self._opening:
            if self._place is None:
                place = open_destination(self.name)
                self.there = {name for name, _ in place.list("packs/")}
                self._place = place
            return self._place

    def add(self, name: str) -> None:
        if not self.left_behind:
            if not self.lacks:
                self.moved = time.monotonic()
            self.lacks[name] = None

    def began(self, name: str) -> None:
        self.flying.add(name)
        if self.trouble is None:
            self.trusted.add(name)

    def ended(self, name: str) -> None:
        self.flying.discard(name)
        self.trusted.discard(name)

    def landed(self, name: str) -> None:
        self.moved, self.trouble = time.monotonic(), None
        self.ended(name)
        self.lacks.pop(name, None)

    def silent(self) -> float:
        """Seconds since something landed, of what was to be sent."""
        return time.monotonic() - self.moved if self.threads and self.lacks else 0.0

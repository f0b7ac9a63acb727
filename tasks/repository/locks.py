"""The locks of what is stored: what is needed is locked anew before its lock ends, with as few requests as may be."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from tasks.destinations.destination import Destination
from tasks.destinations.immutable import LEFT, immutable, term_of
from tasks.errors import Missing
from tasks.repository import cache_file

_AT_ONCE = 16


class Locks:
    """Of one repository at one destination. `cache` is a folder that remembers until when something is locked, so that
    nothing is asked twice: a lock may be prolonged meanwhile, never shortened. Losing it costs requests, no more."""

    def __init__(self, destination: Destination, cache: Path | None) -> None:
        self.term: timedelta | None = term_of(destination)
        self._destination = destination
        self._file = cache / "locks.json" if cache and self.term else None
        self._known: dict[str, datetime] = {}
        with suppress(OSError, ValueError, TypeError, AttributeError):
            held = json.loads(self._file.read_bytes()) if self._file else {}
            known = {name: datetime.fromisoformat(until) for name, until in held.items()}
            self._known = {name: until for name, until in known.items() if until.tzinfo}

    def __bool__(self) -> bool:
        """Whether anything is locked here at all."""
        return self.term is not None

    def hold(self, name: str, now: datetime) -> bool:
        """Whether it is locked still."""
        if self.term is None:
            return False
        if name not in self._known or self._known[name] <= now:
            with suppress(Missing):
                until = immutable(self._destination).locked_until(name)
                if until:
                    self._known[name] = until
        return name in self._known and self._known[name] > now

    def due(self, names: Iterable[str], now: datetime) -> tuple[str, ...]:
        """Those that must be locked anew."""
        if self.term is None:
            return ()
        least = now + self.term * LEFT
        return tuple(name for name in names if name not in self._known or self._known[name] < least)

    def renew(self, names: Collection[str], now: datetime) -> None:
        """For the whole term. Raises `Missing`, `Refused`, `Unavailable` after the others were tried."""
        if self.term is None or not names:
            return
        store, until = immutable(self._destination), now + self.term

        def lock(name: str) -> str:
            store.lock(name, until)
            return name

        try:
            with ThreadPoolExecutor(_AT_ONCE) as threads:
                for name in threads.map(lock, names):
                    self._known[name] = until
        finally:
            self._remember(now)

    def _remember(self, now: datetime) -> None:
        if self._file is None:
            return
        held = {name: until.isoformat() for name, until in self._known.items() if until > now}
        cache_file.keep(self._file, json.dumps(held).encode())


def needed_indexes(named: Mapping[str, set[bytes]], there: Collection[bytes]) -> set[str]:
    """Of index objects, by the packs that they name, those that together name every pack that is there. What is locked
    outlives what has replaced it: it is needed no more, and only waits for its lock to end. One that names nothing
    lost, and the larger one, first."""
    listed = set(there)
    alive = {origin: packs & listed for origin, packs in named.items()}
    covered, needed = set[bytes](), set[str]()
    for origin in sorted(named, key=lambda each: (alive[each] != named[each], -len(named[each]), each)):
        if not alive[origin] <= covered:
            needed.add(origin)
            covered |= alive[origin]
    return needed

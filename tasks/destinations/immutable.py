"""Objects that nobody can delete for a while: which they are, and what a destination that can lock them offers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable

from tasks.destinations.destination import Destination
from tasks.destinations.remote import RemoteSettings
from tasks.errors import Refused

_LOCKED = re.compile(r"(?:packs|index|snapshots|keys)/.+|repository")
"""Of a repository's objects, all but the lists of condemned packs and the proofs: what a restore needs."""

LEFT = 0.75
"""Of its term, so much is always left of the lock of something that is needed: a prune that comes late is no harm."""


@runtime_checkable
class Immutable(Protocol):
    """A destination, or a view of one, whose objects can be locked."""

    @property
    def term(self) -> timedelta | None:
        """So long what a restore needs is locked when it is stored; None: it is not."""
        ...

    def lock(self, name: str, until: datetime) -> None:
        """Nobody can delete it before then; a longer lock stays. Raises `Missing`, `Refused`, `Unavailable`."""
        ...

    def locked_until(self, name: str) -> datetime | None:
        """None where it is not locked, or may be deleted. Raises `Missing`, `Refused`, `Unavailable`."""
        ...


def term_of(destination: Destination) -> timedelta | None:
    """How long what is stored there is locked; None where nothing is."""
    return destination.term if isinstance(destination, Immutable) else None


def immutable(destination: Destination) -> Immutable:
    """The same destination, as one that locks. Raises `Refused` where it can't."""
    if not isinstance(destination, Immutable):
        raise Refused("this destination can't lock what it stores: set `immutable_days` where it can")
    return destination


class Terms:
    """When the objects of one destination may be deleted at the earliest, if they are stored now."""

    def __init__(self, settings: RemoteSettings) -> None:
        self._below = f"{settings.prefix}/" if settings.prefix else ""
        days = settings.immutable_days
        self.term = None if days is None else timedelta(days=days)
        self.trial = settings.immutable_trial

    def until(self, name: str) -> datetime | None:
        """`name` as the service has it: below the destination's prefix, in the folder of a source. None: at once."""
        if self.term is None or not _LOCKED.fullmatch(name.removeprefix(self._below).partition("/")[2]):
            return None
        return in_seconds(datetime.now(UTC) + self.term)


def in_seconds(until: datetime) -> datetime:
    """Not earlier, in UTC and in whole seconds, which is all that some services take."""
    return until.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=bool(until.microsecond))

"""A destination that fails on a schedule, repeatable from a seed: as a network, a full disk or a bad medium does."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from tasks.destinations.destination import Data, Destination, Listed
from tasks.destinations.remote import Page
from tasks.errors import NoSpace, Unavailable


class Faults(NamedTuple):
    """How likely each fault is at each operation that can have it, from 0 to 1. Together they stay below 1."""

    unavailable: float = 0
    """Any operation fails without effect; a listing also in the middle."""
    lost_reply: float = 0
    """A put or delete is done, and still raises `Unavailable`."""
    no_space: float = 0
    """A put fails without effect."""
    cut: float = 0
    """A get returns too few bytes."""
    flipped: float = 0
    """A get returns one wrong bit."""


_POSSIBLE = {
    "put": ("unavailable", "lost_reply", "no_space"),
    "get": ("unavailable", "cut", "flipped"),
    "list": ("unavailable",),
    "delete": ("unavailable", "lost_reply"),
}


class Fault(NamedTuple):
    """A fault that came to pass, such as ("lost_reply", "put", "packs/0a/0a1b")."""

    what: str
    operation: str
    name: str


class FaultyDestination:
    """`inner`, with faults. Whether one comes depends on the seed, the operation, the name and how often that was
    tried, and not on the order of names: threads do not make it less repeatable.

    After `patience` faults in a row the same operation on the same name works, so that whoever retries as often gets
    on. `gone_after` operations the store is gone for good: every other is `Unavailable`. `happened` lists all faults.
    """

    def __init__(
        self,
        inner: Destination,
        seed: int = 1,
        faults: Faults = Faults(),  # noqa: B008 - immutable
        *,
        patience: int = 3,
        gone_after: int | None = None,
    ) -> None:
        self._inner = inner
        self._seed = seed
        self._faults = faults
        self._patience = patience
        self._gone_after = gone_after
        self._tries: Counter[tuple[str, str]] = Counter()
        self._in_a_row: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self.operations = 0
        self.happened: list[Fault] = []

    def put(self, name: str, data: Data) -> None:
        fault, _ = self._next("put", name)
        if fault == "no_space":
            self.happened.append(Fault(fault, "put", name))
            raise NoSpace(f"injected: no room to store `{name}`")
        self._inner.put(name, data)
        if fault == "lost_reply":
            self.happened.append(Fault(fault, "put", name))
            raise Unavailable(f"injected: `{name}` is stored, and nobody is told")

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        fault, chance = self._next("get", name)
        data = self._inner.get(name, offset, length)
        if not fault or not data:
            return data
        self.happened.append(Fault(fault, "get", name))
        place = chance.randrange(len(data))
        if fault == "cut":
            return data[:place]
        wrong = bytearray(data)
        wrong[place] ^= 1 << chance.randrange(8)
        return bytes(wrong)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        # Decided when it is called, as one operation; it shows after some of its names.
        try:
            self._next("list", prefix)
        except Unavailable as error:
            return self._broken_off(prefix, error)
        return self._inner.list(prefix)

    def page(self, prefix: str, after: str | None = None) -> Page:
        """Three of what `list` gives, as a cloud lists by pages."""
        self._next("list", f"{prefix} after {after}")
        left = [each for each in self._inner.list(prefix) if each.name > (after or "")]
        return left[:3], left[2].name if len(left) > 3 else None

    def delete(self, name: str) -> None:
        fault, _ = self._next("delete", name)
        self._inner.delete(name)
        if fault == "lost_reply":
            self.happened.append(Fault(fault, "delete", name))
            raise Unavailable(f"injected: `{name}` is deleted, and nobody is told")

    def _broken_off(self, prefix: str, error: Unavailable) -> Iterator[Listed]:
        yield from islice(self._inner.list(prefix), random.Random(f"{self._seed} {prefix}").randrange(4))
        raise error

    def _next(self, operation: str, name: str) -> tuple[str, random.Random]:
        """The fault that this operation is to have, "" for none, and the chance that decides its details."""
        key = (operation, name)
        with self._lock:
            self.operations += 1
            self._tries[key] += 1
            chance = random.Random(f"{self._seed} {operation} {name} {self._tries[key]}")
            if self._gone_after is not None and self.operations > self._gone_after:
                fault = "unavailable"
            else:
                fault = self._draw(operation, chance) if self._in_a_row[key] < self._patience else ""
            self._in_a_row[key] = self._in_a_row[key] + 1 if fault else 0
        if fault == "unavailable":
            self.happened.append(Fault(fault, operation, name))
            raise Unavailable(f"injected: no answer to {operation} `{name}`")
        return fault, chance

    def _draw(self, operation: str, chance: random.Random) -> str:
        drawn = chance.random()
        for what in _POSSIBLE[operation]:
            drawn -= getattr(self._faults, what)
            if drawn < 0:
                return what
        return ""

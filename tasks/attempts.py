"""Who has tried one thing, one after another, and what it came to: what is done once, whoever is killed or stopped."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from itertools import count

import msgpack

from tasks.errors import Damaged
from tasks.lease import LeaseLost
from tasks.parts import Parts


@dataclass(frozen=True, slots=True)
class Attempt:
    """`name` tells it from all others, `earlier` are the names of those before it. `result`: what it came to; None
    while it is under way."""

    name: str
    earlier: tuple[str, ...] = ()
    result: bytes | None = None


class Attempts:
    """At `what`, in one run. Each slot of the record holds the next attempt, or the result of the last: the first of
    both that comes counts, so one that another has followed can't end any more."""

    def __init__(self, parts: Parts, what: str) -> None:
        self._parts, self._what = parts, what

    def begin(self) -> Attempt:
        """A new attempt, or the one that has a result."""
        return self._walk(secrets.token_hex(8))

    def last(self) -> Attempt | None:
        """Without beginning one; None where there was none."""
        found = self._walk(None)
        return found if found.name else None

    def end(self, attempt: Attempt, result: bytes) -> Attempt:
        """Raises `LeaseLost` where another has begun. After `Unavailable`, nobody knows which of both."""
        slot = self._slot(len(attempt.earlier) + 1)
        name, _ = _unpacked(self._parts.keep(slot, _packed(attempt.name, result)))
        if name != attempt.name:
            raise LeaseLost(f"another attempt at {self._what}")
        return Attempt(attempt.name, attempt.earlier, result)

    def _walk(self, own: str | None) -> Attempt:
        names: list[str] = []
        for number in count():
            slot = self._slot(number)
            kept = self._parts.keep(slot, _packed(own)) if own else self._parts.read(slot)
            if kept is None:
                return Attempt(names[-1] if names else "", tuple(names[:-1]))
            name, result = _unpacked(kept)
            if result is not None:
                return Attempt(name, tuple(names[:-1]), result)
            if name == own:
                return Attempt(name, tuple(names))
            names.append(name)
        raise AssertionError("the record has no end")

    def _slot(self, number: int) -> str:
        return f"{self._what}/attempt-{number}"


def _packed(name: str, result: bytes | None = None) -> bytes:
    return bytes(msgpack.packb((name, result)))


def _unpacked(data: bytes) -> tuple[str, bytes | None]:
    try:
        name, result = msgpack.unpackb(data)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise Damaged("what was tried before can't be read from the record: begin a new run") from error
    return name, result

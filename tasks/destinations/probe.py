"""Trying a destination for real: write, read, list, lock and delete an object that means nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple

from tasks.destinations.checking import refuses_damaged
from tasks.destinations.destination import Destination
from tasks.destinations.immutable import immutable, term_of
from tasks.destinations.rights import Role
from tasks.errors import Exists, Locked, Missing, Refused

_FOLDER = "probes/"
_SHORT = timedelta(minutes=1)


class Tried(NamedTuple):
    """What was found; `advice` where it works, and could be better."""

    says: str
    advice: str = ""


def probe(destination: Destination, role: Role = "writer") -> Iterator[Tried]:
    """Everything that a role does there, in small. Yields what works; raises what does not, which names the right that
    is missing. That a writer can't delete its probe is no fault: the next one who may cleans up."""
    if role == "reader":
        yield from _read_only(destination)
        return
    content = os.urandom(1024)
    name = f"{_FOLDER}{os.urandom(8).hex()}"
    destination.put(name, content)
    yield Tried("writes")
    try:
        if destination.get(name) != content or destination.get(name, 100, 24) != content[100:124]:
            raise Refused("what is read back is not what was written: a proxy or a cache in between changes it")
        yield Tried("reads")
        if name not in [listed.name for listed in destination.list(_FOLDER)]:
            raise Refused("what was written does not show in a listing")
        yield Tried("lists")
        yield _overwritten(destination, name)
        if not refuses_damaged(destination, f"{_FOLDER}{os.urandom(8).hex()}"):
            yield Tried(
                "it does not look whether what arrives is what was sent",
                'set `signature = "s3"` if it knows that one: then each upload is compared by its MD5; else only'
                " `verify` finds what is damaged on its way",
            )
        if term := term_of(destination):
            yield _locked(destination, term)
    finally:
        refused = _cleared(destination)
    if refused is None:
        yield Tried("deletes")
    elif role == "pruner":
        raise refused
    else:
        yield Tried("may not delete (right for a worker that only writes)")


def _read_only(destination: Destination) -> Iterator[Tried]:
    first = next(islice(destination.list(), 1), None)
    yield Tried("lists")
    if first is None:
        yield Tried("holds nothing yet, so nothing was read")
        return
    destination.get(first.name, 0, min(first.size, 1024))
    yield Tried("reads")


def _overwritten(destination: Destination, name: str) -> Tried:
    try:
        destination.put(name, b"other")
    except Exists:
        return Tried("never overwrites")
    if term_of(destination):
        return Tried(
            "it overwrites what is there, as where objects have versions it ignores `If-None-Match`",
            "what is locked stays below as an older version, but whoever may write can hide it; newer releases of such"
            " services refuse",
        )
    raise Refused("it overwrites what is there: no backup is safe on it")


def _locked(destination: Destination, term: timedelta) -> Tried:
    """A lock for a minute, on an object of its own, for the way others are cleaned up should not be barred."""
    store, until = immutable(destination), datetime.now(UTC) + _SHORT
    name = f"{_FOLDER}{os.urandom(8).hex()}"
    destination.put(name, b"locked")
    store.lock(name, until)
    found = store.locked_until(name)
    if found is None or found < until - timedelta(seconds=1):
        raise Refused("it takes the locks that `immutable_days` asks for, and does not keep them: nothing is locked")
    try:
        destination.delete(name)
    except Refused:
        return Tried(f"locks for {term.days} days")
    raise Refused("what is locked can be deleted all the same: `immutable_days` protects nothing here")


def _cleared(destination: Destination) -> Refused | None:
    """Every probe that is there, of earlier times too; why that is not allowed, if so."""
    refused = None
    for listed in list(destination.list(_FOLDER)):
        try:
            destination.delete(listed.name)
        except (Locked, Missing):
            continue
        except Refused as error:
            refused = error
            break
    return refused

"""Packs that a prune has condemned: not relied on any more, and deleted once the grace period is over."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tasks.destinations.destination import Destination
from tasks.errors import Damaged, Missing, NewerFormat, Unavailable
from tasks.repository.keys import RepositoryKeys
from tasks.repository.sealing import seal, unseal

_FOLDER = "condemned/"
_TRIES = 5
_MARGIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One list: `packs` that nothing refers to, `orphans` that no index names (perhaps not yet), and `damaged` packs,
    which a verify found: nothing new may rely on them, so the next capture stores their chunks again. None of them is
    deleted before `until`."""

    name: str
    at: datetime
    until: datetime
    packs: frozenset[bytes]
    orphans: frozenset[bytes]
    damaged: frozenset[bytes]

    @property
    def due(self) -> datetime:
        """When it is too late to rely on these packs: clocks differ, and the last steps of a copy take time."""
        return self.until - min(_MARGIN, (self.until - self.at) / 4)


def put_sentence(
    destination: Destination,
    keys: RepositoryKeys,
    at: datetime,
    until: datetime,
    *,
    packs: Collection[bytes] = (),
    orphans: Collection[bytes] = (),
    damaged: Collection[bytes] = (),
) -> None:
    name = f"{_FOLDER}{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{os.urandom(4).hex()}"
    payload = {
        "at": at.isoformat(),
        "until": until.isoformat(),
        "condemned": sorted(pack.hex() for pack in packs),
        "orphans": sorted(pack.hex() for pack in orphans),
        "damaged": sorted(pack.hex() for pack in damaged),
    }
    destination.put(name, seal(keys.metadata, name, json.dumps(payload).encode()))


def sentences(destination: Destination, keys: RepositoryKeys, *, strict: bool = True) -> list[Sentence]:
    """All of them, oldest first; unless `strict`, as far as they can be read. Raises `Damaged`: a list that can't be
    read must not count as empty; `Unavailable`."""
    read = dict[str, Sentence]()
    for _ in range(_TRIES):
        names = sentence_names(destination)
        try:
            for name in names:
                with suppress(*(() if strict else (Damaged, NewerFormat))):
                    read[name] = read.get(name) or sentence(destination, keys, name)
            return [read[name] for name in names if name in read]
        except Missing:
            # A prune has replaced this list by what is left of it: look again, or what is left would be missed.
            continue
    if not strict:
        return list(read.values())
    raise Unavailable("the lists of condemned packs change faster than they can be read: is a prune in a loop?")


def sentence_names(destination: Destination) -> list[str]:
    return [listed.name for listed in destination.list(_FOLDER)]


def sentence(destination: Destination, keys: RepositoryKeys, name: str) -> Sentence:
    """Raises `Damaged`, `Missing`, `NewerFormat`."""
    try:
        data = json.loads(unseal(keys.metadata, name, destination.get(name)))
        packs, orphans, damaged = (
            frozenset(map(bytes.fromhex, data[part])) for part in ("condemned", "orphans", "damaged")
        )
        at, until = datetime.fromisoformat(data["at"]), datetime.fromisoformat(data["until"])
        return Sentence(name, at, until, packs, orphans, damaged)
    except (Damaged, ValueError, KeyError, TypeError, RecursionError):
        # No prune deletes a pack while a list can't be read, and without the list its packs get a new one first.
        raise Damaged(
            f"`{name}` can't be read as a list of condemned packs: delete this object, the next prune makes another"
        ) from None


class Doubts(NamedTuple):
    """Packs that are condemned, and packs that are damaged: in a sentence of today."""

    condemned: frozenset[bytes]
    damaged: frozenset[bytes]

    def rank(self, pack: bytes, *, there: bool) -> int:
        """0, 1 or 2: of the places where a chunk lies, one in a pack of the least is the best."""
        return 2 if pack in self.damaged or not there else int(pack in self.condemned)


def doubts(destination: Destination, keys: RepositoryKeys, *, strict: bool = True) -> Doubts:
    """Unless `strict`, as far as the lists can be read: for a restore, which only prefers other packs. Raises `Damaged`
    as `sentences` does."""
    terms = sentences(destination, keys, strict=strict)
    return Doubts(
        frozenset().union(*(term.packs for term in terms)), frozenset().union(*(term.damaged for term in terms))
    )


def doomed_packs(
    destination: Destination, keys: RepositoryKeys, now: datetime
) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Packs that nothing may rely on that is listed `now`: the condemned that may be deleted soon, and the orphans that
    may. Those condemned more lately are safe: whoever would delete them looks at the snapshots again before."""
    terms = sentences(destination, keys)
    due = [each for each in terms if now >= each.due]
    packs = frozenset().union(*(each.packs for each in due), *(each.damaged for each in terms))
    return packs, frozenset().union(*(each.orphans for each in due))


def lift(destination: Destination, keys: RepositoryKeys, packs: Collection[bytes]) -> None:
    """Take packs off every list. The rest of a list is stored before the old one goes."""
    gone = frozenset(packs)
    for term in sentences(destination, keys):
        if not (term.packs | term.orphans | term.damaged) & gone:
            continue
        rest = {"packs": term.packs - gone, "orphans": term.orphans - gone, "damaged": term.damaged - gone}
        if any(rest.values()):
            put_sentence(destination, keys, term.at, term.until, **rest)
        with suppress(Missing):
            destination.delete(term.name)

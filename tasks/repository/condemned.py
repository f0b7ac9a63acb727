"""Packs that a prune has condemned: not relied on any more, and deleted once the grace period is over."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.destinations.destination import Destination
from tasks.errors import Damaged
from tasks.repository.keys import RepositoryKeys
from tasks.repository.sealing import seal, unseal

_FOLDER = "condemned/"


@dataclass(frozen=True, slots=True)
class Sentence:
    """One list: `packs` that nothing refers to, `orphans` that no index names (perhaps not yet), and `damaged` packs,
    which a verify found: nothing new may rely on them, so the next capture stores their chunks again."""

    name: str
    at: datetime
    packs: frozenset[bytes]
    orphans: frozenset[bytes]
    damaged: frozenset[bytes]


def put_sentence(
    destination: Destination,
    keys: RepositoryKeys,
    at: datetime,
    *,
    packs: Collection[bytes] = (),
    orphans: Collection[bytes] = (),
    damaged: Collection[bytes] = (),
) -> None:
    name = f"{_FOLDER}{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{os.urandom(4).hex()}"
    payload = {
        "at": at.isoformat(),
        "condemned": sorted(pack.hex() for pack in packs),
        "orphans": sorted(pack.hex() for pack in orphans),
        "damaged": sorted(pack.hex() for pack in damaged),
    }
    destination.put(name, seal(keys.metadata, name, json.dumps(payload).encode()))


def sentences(destination: Destination, keys: RepositoryKeys) -> list[Sentence]:
    """All of them, oldest first. Raises `Damaged`: a list that can't be read must not count as empty."""
    found = []
    for listed in destination.list(_FOLDER):
        payload = unseal(keys.metadata, listed.name, destination.get(listed.name))
        try:
            data = json.loads(payload)
            packs, orphans, damaged = (
                frozenset(map(bytes.fromhex, data[part])) for part in ("condemned", "orphans", "damaged")
            )
            found.append(Sentence(listed.name, datetime.fromisoformat(data["at"]), packs, orphans, damaged))
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(f"`{listed.name}` can't be read as a list of condemned packs") from error
    return found


def condemned_packs(destination: Destination, keys: RepositoryKeys) -> frozenset[bytes]:
    """Packs that nothing new may rely on."""
    return frozenset().union(*(each.packs | each.damaged for each in sentences(destination, keys)))

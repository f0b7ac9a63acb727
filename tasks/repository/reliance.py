"""Which packs a capture in a spool may rely on: all that it knew of when it began, whether it needs them or not.

Where all of them are still there when it is uploaded, nothing has to be looked for: the list of a million items that
hardly changed need not be walked to learn that. Where one is not, only the list tells whether that matters.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from tasks.destinations.destination import Destination
from tasks.errors import Damaged, Missing, NewerFormat
from tasks.repository.keys import RepositoryKeys
from tasks.repository.pack import NAME
from tasks.repository.sealing import seal, unseal


def note(into: Destination, keys: RepositoryKeys, snapshot: str, packs: Collection[bytes]) -> None:
    """Beside the capture in its spool; in place of what an earlier try had noted."""
    name = _name(snapshot)
    with suppress(Missing):
        into.delete(name)
    into.put(name, seal(keys.metadata, name, b"".join(sorted(packs))))


def noted(destination: Destination, keys: RepositoryKeys, snapshot: str) -> frozenset[bytes] | None:
    """None where nothing was noted, or it can't be read any more."""
    name = _name(snapshot)
    try:
        joined = unseal(keys.metadata, name, destination.get(name))
    except (Missing, Damaged, NewerFormat):
        return None
    return frozenset(joined[at : at + NAME] for at in range(0, len(joined), NAME))


def _name(snapshot: str) -> str:
    return f"reliance/{snapshot}"

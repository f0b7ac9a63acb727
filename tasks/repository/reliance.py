"""Which packs a snapshot may rely on: all that its capture knew of, whether it needs them or not.

Where all of them are still there, so is every chunk of the snapshot, and none of a million has to be looked for:
neither by its upload, nor by the next capture. Where one is not, only looking tells whether that matters. What is noted
goes with one item list: two hosts may capture the same for one run, under one id, and rely on different packs.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from tasks.destinations.destination import Destination
from tasks.errors import Damaged, Missing, NewerFormat
from tasks.repository import cache_file
from tasks.repository.keys import RepositoryKeys
from tasks.repository.pack import NAME
from tasks.repository.sealing import seal, unseal
from tasks.repository.snapshot import Snapshot

_REMEMBERED = 4


def note(into: Destination, keys: RepositoryKeys, snapshot: Snapshot, packs: Collection[bytes]) -> None:
    """Beside the capture in its spool; in place of what an earlier try had noted."""
    name = _name(snapshot)
    with suppress(Missing):
        into.delete(name)
    into.put(name, _sealed(keys, snapshot, packs))


def noted(destination: Destination, keys: RepositoryKeys, snapshot: Snapshot) -> frozenset[bytes] | None:
    """None where nothing was noted of that list, or it can't be read any more."""
    try:
        return _packs(keys, snapshot, destination.get(_name(snapshot)))
    except (Missing, Damaged, NewerFormat):
        return None


class Remembered:
    """The same of this host's last captures, in the folder `within`; without one there are none. Losing it loses
    nothing."""

    def __init__(self, within: Path | None, keys: RepositoryKeys) -> None:
        self._folder, self._keys = within / "reliance" if within else None, keys

    def keep(self, snapshot: Snapshot, packs: Collection[bytes]) -> None:
        if self._folder is None:
            return
        cache_file.keep(self._folder / snapshot.id, _sealed(self._keys, snapshot, packs))
        with suppress(OSError):
            # More than one, as the last may never be uploaded. Their names begin with the time.
            for path in sorted(self._folder.iterdir())[:-_REMEMBERED]:
                path.unlink(missing_ok=True)

    def packs(self, snapshot: Snapshot) -> frozenset[bytes] | None:
        """None where nothing is remembered of that list."""
        try:
            data = (self._folder / snapshot.id).read_bytes() if self._folder else b""
            return _packs(self._keys, snapshot, data)
        except (OSError, Damaged, NewerFormat):
            return None


def _sealed(keys: RepositoryKeys, snapshot: Snapshot, packs: Collection[bytes]) -> bytes:
    return seal(keys.metadata, _name(snapshot), _list_of(snapshot) + b"".join(sorted(packs)))


def _packs(keys: RepositoryKeys, snapshot: Snapshot, data: bytes) -> frozenset[bytes] | None:
    """None where they were noted of another list. Raises `Damaged`, `NewerFormat`."""
    payload, expected = unseal(keys.metadata, _name(snapshot), data), _list_of(snapshot)
    if payload[: len(expected)] != expected:
        return None
    return frozenset(payload[at : at + NAME] for at in range(len(expected), len(payload), NAME))


def _list_of(snapshot: Snapshot) -> bytes:
    return blake3(f"{snapshot.level} {snapshot.content}".encode()).digest()


def _name(snapshot: Snapshot) -> str:
    return f"reliance/{snapshot.id}"

"""Which packs a snapshot may rely on: all that its capture knew of, whether it needs them or not.

Where all of them are still there, so is every chunk of the snapshot, and none of a million has to be looked for:
neither by its upload, nor by the next capture. Where one is not, only looking tells whether that matters.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from tasks.destinations.destination import Destination
from tasks.errors import Damaged, Missing, NewerFormat
from tasks.repository.keys import RepositoryKeys
from tasks.repository.pack import NAME
from tasks.repository.sealing import seal, unseal

_REMEMBERED = 4


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
        return _packs(unseal(keys.metadata, name, destination.get(name)))
    except (Missing, Damaged, NewerFormat):
        return None


class Remembered:
    """The same of this host's last captures, in the folder `within`; without one there are none. Losing it loses
    nothing."""

    def __init__(self, within: Path | None, keys: RepositoryKeys) -> None:
        self._folder, self._keys = within / "reliance" if within else None, keys

    def keep(self, snapshot: str, packs: Collection[bytes]) -> None:
        if self._folder is None:
            return
        with suppress(OSError):  # then they are looked for, the next time
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".", delete=False) as file:
                file.write(seal(self._keys.metadata, _name(snapshot), b"".join(sorted(packs))))
            Path(file.name).replace(self._folder / snapshot)
            # More than one, as the last may never be uploaded. Their names begin with the time.
            for path in sorted(self._folder.iterdir())[:-_REMEMBERED]:
                path.unlink(missing_ok=True)

    def packs(self, snapshot: str) -> frozenset[bytes] | None:
        """None where nothing is remembered."""
        try:
            data = (self._folder / snapshot).read_bytes() if self._folder else b""
            return _packs(unseal(self._keys.metadata, _name(snapshot), data))
        except (OSError, Damaged, NewerFormat):
            return None


def _packs(joined: bytes) -> frozenset[bytes]:
    return frozenset(joined[at : at + NAME] for at in range(0, len(joined), NAME))


def _name(snapshot: str) -> str:
    return f"reliance/{snapshot}"

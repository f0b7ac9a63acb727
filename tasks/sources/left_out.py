"""What could not be restored where all else was: the file system there can't hold it, or it is damaged."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from threading import Lock

from tasks.errors import Damaged, Refused
from tasks.sources.path_text import path_text

_OF_ONE = frozenset(
    {errno.ENAMETOOLONG, errno.EFBIG, errno.EINVAL, errno.EILSEQ, errno.EPERM, errno.EOPNOTSUPP, errno.EOVERFLOW}
)

_NAMED = 10
_MOST = 200_000
"""More than that are not kept in memory, nor in a record: then the next one ends the restore."""

Paths = list[tuple[str, list[bytes]]]
"""What a `LeftOut` holds, for a record: why the first was not held and the paths of these, and the same of the lost."""


class LeftOut:
    """The paths, and why. Safe in threads."""

    def __init__(self) -> None:
        self._why: dict[bytes, str] = {}
        self._lost: dict[bytes, str] = {}
        self._lock = Lock()

    def add(self, path: bytes, error: OSError) -> bool:
        """False where the error is not of this item alone, so that others would come to the same; or one too many."""
        if error.errno not in _OF_ONE or len(self._why) >= _MOST:
            return False
        with self._lock:
            self._why[path] = error.strerror or str(error)
        return True

    def lose(self, path: bytes, error: Exception) -> None:
        """It is damaged. Raises that where it is one too many."""
        if len(self._lost) >= _MOST:
            raise error
        with self._lock:
            self._lost.setdefault(path, str(error))

    def paths(self) -> Paths:
        return [(next(iter(known.values()), ""), list(known)) for known in (self._why, self._lost)]

    def add_all(self, paths: Paths) -> None:
        with self._lock:
            for known, (why, more) in zip((self._why, self._lost), paths, strict=True):
                known.update(dict.fromkeys(more, why))

    def __len__(self) -> int:
        return len(self._why) + len(self._lost)

    def __iter__(self) -> Iterator[bytes]:
        yield from (*self._why, *self._lost)

    def __contains__(self, path: object) -> bool:
        return (bool(self._why) and path in self._why) or (bool(self._lost) and path in self._lost)

    def check(self) -> None:
        """Raises `Damaged` where something was lost, else `Refused` where there is anything."""
        if self._lost:
            named = "`, `".join(map(path_text, sorted(self._lost)[:_NAMED]))
            more = f" and {len(self._lost) - _NAMED:,} more" if len(self._lost) > _NAMED else ""
            also = f", and the file system there can't hold {len(self._why):,} others" if self._why else ""
            raise Damaged(
                f"all else was restored, but what is stored of `{named}`{more} is damaged"
                f" ({next(iter(self._lost.values()))}){also}: another destination, or an older snapshot, may have it"
            )
        if not self._why:
            return
        path, why = next(iter(self._why.items()))
        count = len(self._why)
        what = f"`{path_text(path)}`" if count == 1 else f"{count:,} items, of which `{path_text(path)}` is the first"
        raise Refused(
            f"all else was restored, but the file system there can't hold, or lets nobody change, {what}: {why};"
            " restore that to another one"
        )

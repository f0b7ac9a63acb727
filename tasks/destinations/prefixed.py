"""A destination seen from one of its folders: what each source is given of a destination that they all share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from tasks.destinations.checking import refuses_damaged
from tasks.destinations.destination import Data, Destination, Listed, OnDisk, check_name, check_prefix
from tasks.destinations.immutable import immutable, term_of
from tasks.destinations.pouring import pour


class Prefixed:
    """The objects of `destination` whose names start with the folder `prefix`, such as `redis/`, under what is left
    of their names. The length of `prefix` counts in the 900 characters that a name may have."""

    def __init__(self, destination: Destination, prefix: str) -> None:
        self._destination = destination
        self._prefix = check_name(prefix.removesuffix("/")) + "/"

    def put(self, name: str, data: Data) -> None:
        self._destination.put(self._prefix + check_name(name), data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._destination.get(self._prefix + check_name(name), offset, length)

    def pour(self, name: str, into: BinaryIO) -> None:
        pour(self._destination, self._prefix + check_name(name), into)

    def path_of(self, name: str) -> Path | None:
        inner = self._destination
        return inner.path_of(self._prefix + check_name(name)) if isinstance(inner, OnDisk) else None

    @property
    def term(self) -> timedelta | None:
        return term_of(self._destination)

    def lock(self, name: str, until: datetime) -> None:
        immutable(self._destination).lock(self._prefix + check_name(name), until)

    def locked_until(self, name: str) -> datetime | None:
        return immutable(self._destination).locked_until(self._prefix + check_name(name))

    def refuses_damaged(self, name: str) -> bool:
        return refuses_damaged(self._destination, self._prefix + check_name(name))

    def list(self, prefix: str = "") -> Iterator[Listed]:
        listed = self._destination.list(self._prefix + check_prefix(prefix))
        return (Listed(name.removeprefix(self._prefix), size) for name, size in listed)

    def delete(self, name: str) -> None:
        self._destination.delete(self._prefix + check_name(name))

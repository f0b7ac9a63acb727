"""A destination whose credentials may be replaced while a worker lives, as those that are valid for an hour are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from tasks.destinations.checking import refuses_damaged
from tasks.destinations.destination import Data, Destination, Listed, check_prefix
from tasks.destinations.immutable import immutable, term_of
from tasks.destinations.pouring import pour
from tasks.destinations.remote import Page, Paged, RemoteSettings, listed
from tasks.errors import Refused, SettingsError
from tasks.secret import Secret

T = TypeVar("T")


class Renewing:
    """What `make` opens. Where it refuses, and what the settings refer to as its credentials has changed since they
    were read, it is opened anew and asked once more."""

    def __init__(self, make: Callable[[], Paged], settings: RemoteSettings) -> None:
        self._make, self._settings = make, settings
        self._inner = make()
        self._read: tuple[str | bytes, ...] | None = None

    def put(self, name: str, data: Data) -> None:
        self._asked(lambda inner: inner.put(name, data))

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._asked(lambda inner: inner.get(name, offset, length))

    def pour(self, name: str, into: BinaryIO) -> None:
        self._asked(lambda inner: pour(inner, name, into))

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return listed(self._settings, partial(self.page, check_prefix(prefix)))

    def page(self, prefix: str, after: str | None = None) -> Page:
        return self._asked(lambda inner: inner.page(prefix, after))

    def delete(self, name: str) -> None:
        self._asked(lambda inner: inner.delete(name))

    @property
    def term(self) -> timedelta | None:
        return term_of(self._inner)

    def lock(self, name: str, until: datetime) -> None:
        self._asked(lambda inner: immutable(inner).lock(name, until))

    def locked_until(self, name: str) -> datetime | None:
        return self._asked(lambda inner: immutable(inner).locked_until(name))

    def refuses_damaged(self, name: str) -> bool:
        return refuses_damaged(self._inner, name)

    def _asked(self, ask: Callable[[Paged], T]) -> T:
        inner = self._current()
        try:
            return ask(inner)
        except Refused:
            if not self._is_renewed(inner):
                raise
        return ask(self._inner)

    def _current(self) -> Paged:
        if self._read is None:
            self._read = self._credentials()
        return self._inner

    def _is_renewed(self, refused: Destination) -> bool:
        """Whether there is another one to ask now than the one that refused; a thread beside may have opened it."""
        found = self._credentials()
        if found is not None and found != self._read:
            self._inner, self._read = self._make(), found
        return self._inner is not refused

    def _credentials(self) -> tuple[str | bytes, ...] | None:
        """None where they can't be read, or not right now."""
        options = [getattr(self._settings, name) for name in type(self._settings).model_fields]
        key = getattr(self._settings, "credentials", None)
        try:
            files = [key.read_bytes()] if isinstance(key, Path) else []
            return (*(option.read() for option in options if isinstance(option, Secret)), *files)
        except (SettingsError, OSError):
            return None

"""A destination behind a network, asked again for what may pass: the one place where anything is tried twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import BinaryIO, TypeVar

import tenacity

from tasks.destinations.body import body_of
from tasks.destinations.checking import refuses_damaged
from tasks.destinations.destination import READS_OF_DAMAGE, Data, Listed, check_prefix
from tasks.destinations.immutable import immutable, term_of
from tasks.destinations.per_process import PerProcess
from tasks.destinations.pouring import pour
from tasks.destinations.remote import Page, Paged, RemoteSettings, listed
from tasks.errors import Damaged, Exists, Missing, NoStore, Unavailable

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0
"""Seconds; each is drawn between nothing and twice the one before, so that many who wait do not come back together."""


class Retrying:
    """`inner`, with at most so many requests at once, each tried again while it is `Unavailable`, up to the deadline.
    A refusal is final; so is a store that is not there. What reads back wrong is read again a few times, for it is
    mostly the way here that damaged it.

    A request may have been carried out although its answer never came. So where a second try finds the name taken, it
    is compared with what was sent, and where it finds nothing to delete, it is deleted.
    """

    def __init__(self, inner: Paged, settings: RemoteSettings, *, first_pause: float = FIRST_PAUSE) -> None:
        self._inner, self._settings = inner, settings
        self._deadline = settings.deadline.total_seconds()
        self._first_pause = first_pause
        # Of this process: a semaphore that a thread held at a fork would stay taken in the child.
        self._slots = PerProcess(lambda: threading.BoundedSemaphore(settings.connections))

    def put(self, name: str, data: Data) -> None:
        failed = False

        def attempt() -> None:
            nonlocal failed
            try:
                self._inner.put(name, data)
            except Unavailable:
                failed = True
                raise
            except Exists:
                if not (failed and self._is_stored(name, data)):
                    raise

        self._patiently(attempt)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._read(lambda: self._inner.get(name, offset, length))

    def pour(self, name: str, into: BinaryIO) -> None:
        self._read(lambda: pour(self._inner, name, into))

    def list(self, prefix: str = "") -> Iterator[Listed]:
        return listed(self._settings, partial(self.page, check_prefix(prefix)))

    def page(self, prefix: str, after: str | None = None) -> Page:
        return self._patiently(lambda: self._inner.page(prefix, after))

    def delete(self, name: str) -> None:
        failed = False

        def attempt() -> None:
            nonlocal failed
            try:
                self._inner.delete(name)
            except Unavailable:
                failed = True
                raise
            except Missing:
                if not failed:
                    raise

        self._patiently(attempt)

    @property
    def term(self) -> timedelta | None:
        return term_of(self._inner)

    def lock(self, name: str, until: datetime) -> None:
        self._patiently(lambda: immutable(self._inner).lock(name, until))

    def locked_until(self, name: str) -> datetime | None:
        return self._patiently(lambda: immutable(self._inner).locked_until(name))

    def refuses_damaged(self, name: str) -> bool:
        return refuses_damaged(self._inner, name)

    def _read(self, read: Callable[[], T]) -> T:
        def attempt() -> T:
            for _ in range(READS_OF_DAMAGE - 1):
                with suppress(Damaged):
                    return read()
            return read()

        return self._patiently(attempt)

    def _is_stored(self, name: str, data: Data) -> bool:
        """Raises `Damaged` where an earlier try was stored wrong: nobody must rely on that one."""
        with body_of(data) as body:
            return body.is_same(self._inner.get(name))

    def _patiently(self, attempt: Callable[[], T]) -> T:
        waiting: tenacity.Retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            wait=tenacity.wait_random_exponential(multiplier=self._first_pause, max=LONGEST_PAUSE),
            # Once more in any case: over a slow line what broke off may have taken longer than that.
            stop=tenacity.stop_all(tenacity.stop_after_attempt(2), tenacity.stop_before_delay(self._deadline)),
            reraise=True,
        )

        def limited() -> T:
            with self._slots():
                return attempt()

        return waiting(limited)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, Unavailable) and not isinstance(error, NoStore)

"""A few large buffers, counted: sources are read into them, and blocks hold views of them until they are sealed."""

from __future__ import annotations

import mmap
import threading

SIZE = 4 << 20
"""Bytes of one buffer: twice the greatest chunk, so that one always fits behind the rest of another."""


class Buffer:
    __slots__ = ("holders", "view")

    def __init__(self) -> None:
        # An anonymous map: zeroed by the kernel as it is touched, and given back as a whole.
        self.view = memoryview(mmap.mmap(-1, SIZE))
        self.holders = 0


class Buffers:
    """At most `count` buffers; `take` waits for one that nobody holds any more."""

    def __init__(self, count: int) -> None:
        self._free: list[Buffer] = []
        self._left = count
        self._changed = threading.Condition()
        self._broken: BaseException | None = None

    def take(self) -> Buffer:
        """A buffer held once. Raises what `break_off` was told."""
        with self._changed:
            while not self._free and not self._left and not self._broken:
                self._changed.wait()
            if self._broken:
                raise self._broken
            if self._free:
                buffer = self._free.pop()
            else:
                self._left -= 1
                buffer = Buffer()
            buffer.holders = 1
            return buffer

    def hold(self, buffer: Buffer) -> None:
        with self._changed:
            buffer.holders += 1

    def release(self, buffer: Buffer) -> None:
        with self._changed:
            buffer.holders -= 1
            if not buffer.holders:
                self._free.append(buffer)
                self._changed.notify()

    def break_off(self, error: BaseException) -> None:
        """Whoever waits, or will, gets `error` instead of a buffer."""
        with self._changed:
            self._broken = error
            self._changed.notify_all()

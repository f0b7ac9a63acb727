"""So many bytes a second, over all connections of a process to one destination."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

_PIECE = 1 << 16
_UNLIMITED_PIECE = 1 << 18
"""Each costs the sender a turn; and what sends one has to be done with it before a time-out, on a slow line too."""
_LEAST_PIECE = 1 << 10
_BURST_SECONDS = 0.25


class Pace:
    """Holds up whoever comes too early. Without a limit it holds up nobody. Safe in threads."""

    def __init__(self, bytes_a_second: int | None) -> None:
        self.limit = bytes_a_second
        # A few times a second each, however slow it is and however many they are: a service gives up on who is silent.
        self.piece = min(_PIECE, max(_LEAST_PIECE, bytes_a_second // 16)) if bytes_a_second else _UNLIMITED_PIECE
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, count: int) -> None:
        """Wait until `count` bytes more may pass."""
        if not self.limit:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - _BURST_SECONDS) + count / self.limit
            wait = self._free_at - now
        if wait > 0:
            time.sleep(wait)

    def received(self, read: Callable[..., bytes]) -> Callable[..., bytes]:
        """The same `read`, which gives out no faster than that."""

        def read_in_time(*arguments: Any, **options: Any) -> bytes:
            piece = read(*arguments, **options)
            self.take(len(piece))
            return piece

        return read_in_time if self.limit else read

    def read_all(self, read: Callable[[int | None], bytes]) -> bytes:
        """All that `read` gives, asked for in pieces that fit the pace; held once where there is none."""
        return b"".join(iter(lambda: read(self.piece), b"")) if self.limit else read(None)

    def pieces(self, read: Callable[[int | None], bytes]) -> Iterator[bytes]:
        """The same, one by one."""
        return iter(lambda: read(self.piece), b"")

    def sent(self, body: Any) -> Any:
        """The body of a request, given out no faster than that."""
        if not self.limit or body is None:
            return body
        if isinstance(body, (bytes, bytearray)):
            body = io.BytesIO(body)
        return _Paced(body, self) if hasattr(body, "read") else body


class Handed:
    """The body of a request as an iterable of pieces, given out at a pace. Each who iterates begins at the start."""

    def __init__(self, pieces: Callable[[int], Iterator[memoryview]], pace: Pace) -> None:
        self._pieces, self._pace = pieces, pace

    def __iter__(self) -> Iterator[memoryview]:
        for piece in self._pieces(self._pace.piece):
            self._pace.take(len(piece))
            yield piece

    def seek(self, offset: int) -> None:
        """As it is asked to rewind before it is sent once more."""
        if offset:
            raise ValueError("it is handed out from the start")


class _Paced:
    def __init__(self, inner: IO[bytes], pace: Pace) -> None:
        self._inner, self._pace = inner, pace

    def read(self, size: int = -1) -> bytes:
        piece = self._inner.read(size if 0 <= size < self._pace.piece else self._pace.piece)
        self._pace.take(len(piece))
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

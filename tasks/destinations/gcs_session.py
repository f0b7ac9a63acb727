"""Large objects on their way to Google Cloud Storage: sessions that go on at the byte where the connection broke."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from tasks.destinations.body import Body
from tasks.errors import Unavailable

What = tuple[str, int, str]
"""An object's name, its size and its checksum."""
_MOST = 64
_LOST = (404, 410)
"""What the service says of a session that it knows no more."""


class Sessions:
    """The unfinished uploads of one process, by what was to be stored. The service keeps what it received of one, in
    steps of 256 KiB, for a week; nobody sees any of it before the last byte was there and its checksum was right. Safe
    in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[What, str] = OrderedDict()

    def send(self, http: Any, what: What, body: Body, begin: Callable[[], str], *, timeout: tuple[float, float]) -> Any:
        """The service's last answer: 200 where the object is there now. `begin` opens a session and returns its URL.
        After an answer that may pass, and where there was none, another call goes on. Raises `Unavailable` and what
        `http`, a session of `requests`, does."""
        url, done = self._taken(what), 0
        try:
            if url:
                answer = http.put(url, headers={"Content-Range": f"bytes */{len(body)}"}, timeout=timeout)
                if answer.status_code in _LOST:
                    url = None
                elif answer.status_code == 308:
                    done = _received(answer)
                else:
                    url = url if _may_pass(answer) else None
                    return answer
            url = url or begin()
            while True:
                body.seek(done)
                span = f"bytes {done}-{len(body) - 1}/{len(body)}"
                answer = http.put(url, data=body, headers={"Content-Range": span}, timeout=timeout)
                if answer.status_code != 308:
                    url = url if _may_pass(answer) else None
                    return answer
                before, done = done, _received(answer)
                if done <= before:
                    raise Unavailable(f"of `{what[0]}` nothing more was taken after {done} of {len(body)} bytes")
        finally:
            if url:
                self._keep(what, url)

    def _taken(self, what: What) -> str | None:
        """Not for two at once: whoever sends the same thing at the same time has a session of its own."""
        with self._lock:
            return self._open.pop(what, None)

    def _keep(self, what: What, url: str) -> None:
        with self._lock:
            self._open[what] = url
            while len(self._open) > _MOST:
                self._open.popitem(last=False)


def _may_pass(answer: Any) -> bool:
    return answer.status_code in (408, 429) or answer.status_code >= 500


def _received(answer: Any) -> int:
    """How many bytes the service has: without a range, none."""
    span = re.fullmatch(r"bytes=0-([0-9]+)", answer.headers.get("Range", ""))
    return int(span[1]) + 1 if span else 0

"""What the SDKs that send by `requests` send with: a pool of connections of one's own, at one's own pace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from tasks.destinations.pace import Pace


class PacedAdapter(HTTPAdapter):
    """Tries nothing twice, as `retrying.py` does so for all."""

    def __init__(self, pace: Pace, connections: int) -> None:
        self._pace = pace
        super().__init__(pool_connections=connections, pool_maxsize=connections, max_retries=0)

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        request.body = self._pace.sent(request.body)
        response = super().send(request, *arguments, **options)
        if self._pace.limit:
            response.raw.read = self._paced(response.raw.read)
        return response

    def _paced(self, read: Callable[..., bytes]) -> Callable[..., bytes]:
        def read_in_time(*arguments: Any, **options: Any) -> bytes:
            piece = read(*arguments, **options)
            self._pace.take(len(piece))
            return piece

        return read_in_time


def mount(session: requests.Session, pace: Pace, connections: int) -> None:
    for protocol in ("https://", "http://"):
        session.mount(protocol, PacedAdapter(pace, connections))

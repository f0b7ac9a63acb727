"""What the SDKs that send by `requests` send with: a pool of connections of one's own, at one's own pace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from tasks.destinations.pace import Pace

_BLOCK_BYTES = 1 << 18
"""So much of a file is sent at a time."""


class PacedAdapter(HTTPAdapter):
    """Tries nothing twice, as `retrying.py` does so for all."""

    def __init__(self, pace: Pace, connections: int, ca_file: Path | None) -> None:
        self._pace, self._ca_file = pace, ca_file
        super().__init__(pool_connections=connections, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, blocksize=_BLOCK_BYTES)

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        if self._ca_file:  # not by the session, whose own a variable of the environment outranks
            options["verify"] = str(self._ca_file)
        request.body = self._pace.sent(request.body)
        response = super().send(request, *arguments, **options)
        if self._pace.limit:  # not for nothing: then it refers to itself, and goes only when garbage is collected
            response.raw.read = self._pace.received(response.raw.read)
        return response


def mount(session: requests.Session, pace: Pace, connections: int, ca_file: Path | None) -> None:
    for protocol in ("https://", "http://"):
        session.mount(protocol, PacedAdapter(pace, connections, ca_file))

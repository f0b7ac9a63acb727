"""Google Cloud Storage as the tests' own server gives it."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.destinations.gcs import GcsSettings
from tests.stores.child_server import child_server, free_port


class GcsServer:
    def __init__(self, url: str) -> None:
        self.url = url
        self._buckets = 0

    def settings(self, bucket: str, **other: Any) -> GcsSettings:
        values: dict[str, Any] = {"bucket": bucket, "endpoint": self.url, "anonymous": True}
        return GcsSettings(**{**values, **other})

    def bucket(self, *, retaining: bool = False) -> str:
        """A new, empty one; `retaining`: one that knows object retention."""
        self._buckets += 1
        name = f"bucket-{self._buckets}"
        body = json.dumps({"name": name}).encode()
        query = "?enableObjectRetention=true" if retaining else ""
        request = urllib.request.Request(f"{self.url}/storage/v1/b{query}", body, method="POST")  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            return name


@contextmanager
def gcs_server(folder: Path) -> Iterator[GcsServer]:
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("gcs_server.py")), str(port)]
    with child_server(command, port, folder / "gcs.log"):
        yield GcsServer(f"http://127.0.0.1:{port}")

"""Google Cloud Storage as the tests' own server gives it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.destinations.gcs_settings import GcsSettings
from tests.free_port import free_port
from tests.stores.child_server import child_server


class GcsServer:
    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self._buckets = 0

    def settings(self, bucket: str, **other: Any) -> GcsSettings:
        values: dict[str, Any] = {"bucket": bucket, "endpoint": self.url, "anonymous": True}
        return GcsSettings(**{**values, **other})

    def account(self, name: str, permissions: list[str] | None) -> Path:
        """The key file of a service account that may do so much; None: one that the service does not know."""
        file = self.folder / f"{name}.json"
        account = f"{name}@project.iam.gserviceaccount.com"
        key = {"type": "service_account", "client_email": account, "private_key": self._private_key}
        file.write_text(json.dumps({**key, "token_uri": f"{self.url}/token", "project_id": "project"}))
        if permissions is not None:
            self._post("/accounts", {"account": account, "permissions": permissions})
        return file

    @cached_property
    def _private_key(self) -> str:
        """One for all accounts: their signatures are not looked at."""
        made = subprocess.run(["openssl", "genrsa", "2048"], capture_output=True, check=True, timeout=60)
        return made.stdout.decode()

    def _post(self, path: str, told: dict[str, Any]) -> None:
        body = json.dumps(told).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, method="POST")  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            return

    def bucket(self, *, retaining: bool = False) -> str:
        """A new, empty one; `retaining`: one that knows object retention."""
        self._buckets += 1
        name = f"bucket-{self._buckets}"
        self._post(f"/storage/v1/b{'?enableObjectRetention=true' if retaining else ''}", {"name": name})
        return name


@contextmanager
def gcs_server(folder: Path) -> Iterator[GcsServer]:
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("gcs_server.py")), str(port)]
    with child_server(command, port, folder / "gcs.log"):
        yield GcsServer(f"http://127.0.0.1:{port}", folder)

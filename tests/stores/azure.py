"""Azure Blob Storage as Azurite gives it: from npm, in the cache folder that `.ci/run` fills, or on PATH."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.destinations.azure_settings import AzureSettings
from tasks.secret import Secret
from tests.free_port import free_port
from tests.stores.child_server import child_server

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own account, the same everywhere."""


class AzureServer:
    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        (folder / "key").write_text(KEY)
        self._containers = self._signatures = 0

    def settings(self, container: str, **other: Any) -> AzureSettings:
        values: dict[str, Any] = {
            "url": self.url,
            "container": container,
            "account_key": Secret(reference=f"file:{self.folder / 'key'}"),
        }
        return AzureSettings(**{**values, **other})

    def container(self) -> str:
        """A new, empty one."""
        self._containers += 1
        name = f"container-{self._containers}"
        self.client.create_container(name)
        return name

    def signature(self, container: str, permissions: str, *, hours: float = 1) -> Secret:
        """A shared access signature of the container that permits so much, and ends in so many hours."""
        from azure.storage.blob import ContainerSasPermissions, generate_container_sas

        now = datetime.now(UTC)
        made = generate_container_sas(
            ACCOUNT,
            container,
            account_key=KEY,
            permission=ContainerSasPermissions.from_string(permissions),
            start=now - timedelta(hours=2),
            expiry=now + timedelta(hours=hours),
        )
        self._signatures += 1
        (self.folder / f"sas-{self._signatures}").write_text(made)
        return Secret(reference=f"file:{self.folder / f'sas-{self._signatures}'}")

    @cached_property
    def client(self) -> BlobServiceClient:
        """The SDK itself, for what only a test does. Not across a fork."""
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient(self.url, credential={"account_name": ACCOUNT, "account_key": KEY})


@contextmanager
def azure_server(folder: Path, require: Callable[[str], str]) -> Iterator[AzureServer]:
    port = free_port()
    command = [require("azurite-blob"), "--blobHost", "127.0.0.1", "--blobPort", str(port), "-l", str(folder / "data")]
    command += ["-s", "--disableTelemetry", "--skipApiVersionCheck"]
    with child_server(command, port, folder / "azurite.log"):
        yield AzureServer(f"http://127.0.0.1:{port}/{ACCOUNT}", folder)

"""S3 as moto's server gives it: real requests over real connections, conditional writes included."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.destinations.s3_settings import S3Settings
from tasks.secret import Secret
from tests.free_port import free_port
from tests.stores.child_server import child_server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY, SECRET = "test-key", "test-secret"


class S3Server:
    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        (folder / "key").write_text(KEY)
        (folder / "secret").write_text(SECRET)
        self._buckets = 0

    def settings(self, bucket: str, **other: Any) -> S3Settings:
        """How a destination finds that bucket; time-outs that a test can wait for."""
        values: dict[str, Any] = {
            "bucket": bucket,
            "endpoint": self.url,
            "path_style": True,
            "access_key": Secret(reference=f"file:{self.folder / 'key'}"),
            "secret_key": Secret(reference=f"file:{self.folder / 'secret'}"),
        }
        return S3Settings(**{**values, **other})

    def bucket(self) -> str:
        """A new, empty one."""
        self._buckets += 1
        name = f"bucket-{self._buckets}"
        self.client.create_bucket(Bucket=name)
        return name

    @cached_property
    def client(self) -> S3Client:
        """The SDK itself, for what only a test does. Not across a fork."""
        import boto3

        return boto3.session.Session(KEY, SECRET, region_name="us-east-1").client("s3", endpoint_url=self.url)


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("moto_server.py")), "-H", "127.0.0.1", "-p", str(port)]
    with child_server(command, port, folder / "moto.log"):
        yield S3Server(f"http://127.0.0.1:{port}", folder)

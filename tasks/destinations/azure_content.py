"""A blob's content on its way, by hooks of azure-storage-blob: itself it would hold what is sent at once in memory, and
what it reads three times."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tasks.destinations.body import Body
from tasks.destinations.pace import Pace

if TYPE_CHECKING:
    from azure.core.pipeline import PipelineRequest, PipelineResponse
    from azure.core.rest import HttpRequest, HttpResponse
    from azure.storage.blob import BlobClient

CHECKED_BYTES = 4 << 20
"""The service gives the MD5 of a range up to here."""


def sending(body: Body) -> Callable[[PipelineRequest[HttpRequest]], None]:
    """Make a request that puts nothing put this. In parts, which the SDK sends without a copy of all of it, it would
    take the right to write, and so to replace what is there."""

    def send(request: PipelineRequest[HttpRequest]) -> None:
        from azure.core.rest import HttpRequest

        empty, md5 = request.http_request, base64.b64encode(body.md5).decode()
        headers = {**empty.headers, "Content-Length": str(len(body)), "Content-MD5": md5}
        request.http_request = HttpRequest(empty.method, empty.url, headers=headers, content=body if len(body) else b"")

    return send


def received(
    blob: BlobClient, offset: int, length: int, pace: Pace, *, with_md5: bool
) -> tuple[Mapping[str, str], bytes]:
    """The headers of the answer and what it brings: so many bytes, or fewer where the blob ends. `with_md5`: and
    the MD5 of what the service read, which it gives up to `CHECKED_BYTES`."""

    def ask(request: PipelineRequest[HttpRequest]) -> None:
        if with_md5:
            request.http_request.headers["x-ms-range-get-content-md5"] = "true"

    try:
        blob.download_blob(offset, length, raw_request_hook=ask, raw_response_hook=_receive(pace), max_concurrency=1)
    except _Received as answer:
        return answer.headers, answer.content
    raise AssertionError  # it has answered, and not with an error


def is_intact(headers: Mapping[str, str], content: bytes) -> bool:
    """Whether what was `received` is what the service read; so is what came without an MD5."""
    md5 = headers.get("Content-MD5")
    return md5 is None or base64.b64decode(md5) == hashlib.md5(content, usedforsecurity=False).digest()


class _Received(Exception):
    """No error: it takes an answer past all that the SDK would do with it."""

    def __init__(self, headers: Mapping[str, str], content: bytes) -> None:
        super().__init__()
        self.headers, self.content = headers, content


def _receive(pace: Pace) -> Callable[[PipelineResponse[HttpRequest, HttpResponse]], None]:
    def receive(response: PipelineResponse[HttpRequest, HttpResponse]) -> None:
        answer: Any = response.http_response
        if answer.status_code in (200, 206):
            raise _Received(answer.headers, pace.read_all(answer.internal_response.raw.read))

    return receive

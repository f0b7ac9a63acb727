"""A blob's content on its way. By itself azure-storage-blob holds all of a single put in memory, and copies what it
reads three times: by its hooks the content passes that."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.destinations.body import Body
from tasks.destinations.pace import Pace
from tasks.destinations.remote import CHECKSUM

if TYPE_CHECKING:
    from azure.core.pipeline import PipelineRequest
    from azure.core.rest import HttpRequest
    from azure.storage.blob import BlobClient


class Misread(Exception):
    """What came is not what was asked for."""


def only_of_azure(response: Any) -> None:
    """Raise `Misread` where something else answers in its place: a page to log in on is no object, and what some proxy
    does not find may be there. The service gives each of its answers a number."""
    answer = response.http_response
    if "x-ms-request-id" not in answer.headers:
        answer.close()
        raise Misread(f"something on the way answered for it (status {answer.status_code})")


class Part(NamedTuple):
    """What lies in a blob from some byte on, the blob's size and checksum, and the tag of what was there then."""

    content: bytes
    total: int
    checksum: str | None
    tag: str


def sending(body: Body) -> dict[str, Any]:
    """What makes `upload_blob(b"")` put this. The request is made for nothing, and gets its content before it is
    signed; without that, the checksum would not be that of nothing, and the service would refuse it. In parts, which
    the SDK sends without a copy of all of it, it would take the right to write, and so to replace what is there."""

    def send(request: PipelineRequest[HttpRequest]) -> None:
        http: Any = request.http_request
        http.data = body if len(body) else b""  # as an empty stream it would be sent without its length
        http.headers["Content-Length"] = str(len(body))

    return {"transactional_content_md5": bytearray(body.md5), "raw_request_hook": send}


def received(
    blob: BlobClient, offset: int, length: int, pace: Pace, *, tag: str | None = None, with_md5: bool = False
) -> Part:
    """So many bytes from `offset` on, or fewer where the blob ends; of what has that `tag`, if one is given.
    `with_md5`: by the MD5 that the service made of what it read, which it does for 4 MiB at most. Raises `Misread`,
    and what the SDK does."""
    answers = list[tuple[Mapping[str, str], bytes]]()

    def ask(request: PipelineRequest[HttpRequest]) -> None:
        headers = {"Accept-Encoding": "identity"} | ({"x-ms-range-get-content-md5": "true"} if with_md5 else {})
        request.http_request.headers.update(headers)

    def take(response: Any) -> None:
        only_of_azure(response)
        answer = response.http_response
        if answer.status_code in (200, 206):
            answers.append((dict(answer.headers.lower_items()), pace.read_all(answer.internal_response.raw.read)))
            answer.headers["Content-Length"] = "0"  # for so much is left, and the SDK makes room for a list of that

    blob.download_blob(
        offset, length, raw_request_hook=ask, raw_response_hook=take, max_concurrency=1, **_still_that(tag)
    )
    headers, content = answers[-1]
    # An empty range that begins at the end ends one byte before it, at Azurite.
    span = re.fullmatch(r"bytes (\d+)-(-?\d+)/(\d+)", headers.get("content-range", ""))
    if not span or (int(span[1]), int(span[2])) != (offset, offset + len(content) - 1):
        raise Misread("it came without its range, or with another: something on the way drops or changes it")
    md5 = headers.get("content-md5") if with_md5 else None
    if md5 and base64.b64decode(md5) != hashlib.md5(content, usedforsecurity=False).digest():
        raise Misread("it arrived damaged")
    return Part(content, int(span[3]), headers.get(f"x-ms-meta-{CHECKSUM}"), headers.get("etag", ""))


def _still_that(tag: str | None) -> dict[str, Any]:
    from azure.core import MatchConditions

    return {"etag": tag, "match_condition": MatchConditions.IfNotModified} if tag else {}

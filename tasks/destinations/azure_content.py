"""A blob's content on its way. By itself azure-storage-blob holds all of a single put in memory, and copies what it
reads three times: by its hooks the content passes that."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.destinations.body import Body
from tasks.destinations.foreign import Foreign, check_marks, check_span
from tasks.destinations.pace import Pace
from tasks.destinations.remote import CHECKSUM

if TYPE_CHECKING:
    from azure.core.pipeline import PipelineRequest
    from azure.core.rest import HttpRequest
    from azure.storage.blob import BlobClient


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


Take = Callable[[Callable[[int | None], bytes]], int]
"""Takes content by reading it, from its start each time it is called, and tells how many bytes that were."""


def received(
    blob: BlobClient,
    offset: int,
    length: int,
    pace: Pace,
    *,
    tag: str | None = None,
    with_md5: bool = False,
    take: Take | None = None,
) -> Part:
    """So many bytes from `offset` on, or fewer where the blob ends; of what has that `tag`, if one is given.
    `with_md5`: checked by the MD5 of what the service read, which it gives for 4 MiB at most. The part that is given to
    `take` has no content. Raises `Foreign`, and what the SDK and `take` do."""
    answers = list[tuple[Mapping[str, str], bytes, int]]()

    def ask(request: PipelineRequest[HttpRequest]) -> None:
        headers = {"Accept-Encoding": "identity"} | ({"x-ms-range-get-content-md5": "true"} if with_md5 else {})
        request.http_request.headers.update(headers)

    def read(response: Any) -> None:
        only_of_azure(response)
        answer = response.http_response
        if answer.status_code in (200, 206):
            raw = answer.internal_response.raw
            try:
                content = b"" if take else pace.read_all(raw.read)
                size = take(raw.read) if take else len(content)
            except BaseException:  # half of an answer may be left in the connection
                answer.close()
                raise
            answers.append((dict(answer.headers.lower_items()), content, size))
            # The SDK makes a list of what is left, with room for as many elements as this header says.
            answer.headers["Content-Length"] = "0"

    blob.download_blob(
        offset, length, raw_request_hook=ask, raw_response_hook=read, max_concurrency=1, **_still_that(tag)
    )
    headers, content, size = answers[-1]  # of the one request, or of the last where the SDK asked again
    total = check_span(headers.get("content-range"), offset, size)
    found = headers.get("etag")
    if found is None or tag not in (None, found):
        raise Foreign("it came without its tag, or with another: something on the way changed it")
    if with_md5 and content:
        md5 = base64.b64decode(headers.get("content-md5", ""))
        if md5 != hashlib.md5(content, usedforsecurity=False).digest():
            raise Foreign("it arrived damaged, or without the MD5 that was asked for")
    return Part(content, total, headers.get(f"x-ms-meta-{CHECKSUM}"), found)


def only_of_azure(response: Any) -> None:
    """For each answer. Raises `Foreign` where it has no number, which the service gives to all of its own."""
    answer = response.http_response
    try:
        check_marks(answer.headers, ("x-ms-request-id",), answer.status_code)
    except Foreign:
        answer.close()
        raise


def _still_that(tag: str | None) -> dict[str, Any]:
    from azure.core import MatchConditions

    return {"etag": tag, "match_condition": MatchConditions.IfNotModified} if tag else {}

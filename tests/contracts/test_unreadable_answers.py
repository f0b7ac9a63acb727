"""Answers of a service that lack what its documents promise: never a traceback, a wait without end, or a short list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from tasks.destinations import open_destination
from tasks.destinations.body import crc32c
from tasks.destinations.retrying import Retrying
from tasks.destinations.s3 import S3
from tasks.errors import NoStore, Refused, Unavailable
from tests.stores.answering_server import Answer, answering_server
from tests.stores.azure import AzureServer
from tests.stores.s3 import S3Server

HASTY: dict[str, Any] = {"deadline": timedelta(seconds=0.5)}
MARKS = {"ETag": '"1"', "x-amz-request-id": "1", "X-GUploader-UploadID": "1", "x-ms-request-id": "1"}
XML = {**MARKS, "Content-Type": "application/xml"}
JSON = {**MARKS, "Content-Type": "application/json"}


def s3_page(more: str, objects: str = "") -> bytes:
    return f"<ListBucketResult><IsTruncated>{more}</IsTruncated>{objects}</ListBucketResult>".encode()


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("s3", (200, XML, s3_page("false", "<Contents><Key>a</Key></Contents>"))),
        ("s3", (200, XML, s3_page("false", "<Contents><Key>a</Key><Size>many</Size></Contents>"))),
        ("s3", (202, XML, b"<html>")),
        ("azure", (200, XML, b"")),
        ("azure", (200, XML, b"<EnumerationResults></EnumerationResults>")),
        ("azure", (503, XML, b"<Error></Error>")),
        ("gcs", (200, JSON, b'{"kind": "storage#objects", "items": null}')),
        ("gcs", (200, JSON, b'{"kind": "storage#objects", "items": [{"name": "a", "size": []}]}')),
    ],
)
def test_a_listing_that_cannot_be_read_is_one_clear_line(
    request: pytest.FixtureRequest, kind: str, answer: Answer
) -> None:
    server: Any = request.getfixturevalue(kind)
    with answering_server(lambda verb, headers: answer) as url:
        where = {"url": f"{url}/account"} if kind == "azure" else {"endpoint": url}
        with pytest.raises(Unavailable) as caught:
            list(open_destination(server.settings("anything", **where, **HASTY)).list())
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("told", ["", "<NextContinuationToken>same</NextContinuationToken>"], ids=["nothing", "same"])
def test_a_listing_that_does_not_go_on_is_refused_and_not_waited_for(s3: S3Server, told: str) -> None:
    """As of services that know the first version of that question only, from the thousand-and-first object on."""
    page = s3_page("true", told)
    with (
        answering_server(lambda verb, headers: (200, XML, page)) as url,
        pytest.raises(Refused, match="ListObjectsV2"),
    ):
        list(open_destination(s3.settings("anything", endpoint=url, **HASTY)).list())


VERSION = """<Version><Key>docs/{name}</Key><VersionId>1</VersionId><Size>1</Size>
<LastModified>2026-11-01T00:00:00.000Z</LastModified></Version>"""


def page_of_versions(more: str, name: str = "a") -> bytes:
    return f"<ListVersionsResult>{more}{VERSION.format(name=name)}</ListVersionsResult>".encode()


@pytest.mark.parametrize(
    "told",
    ["", "<NextKeyMarker>docs/a</NextKeyMarker><NextVersionIdMarker>1</NextVersionIdMarker>"],
    ids=["nothing", "same"],
)
def test_versions_of_which_more_follow_without_end_are_refused_and_not_waited_for(s3: S3Server, told: str) -> None:
    page = page_of_versions(f"<IsTruncated>true</IsTruncated>{told}")
    with answering_server(lambda verb, headers: (200, XML, page)) as url:
        at = {"endpoint": url, **HASTY}
        with pytest.raises(Refused, match="more versions follow"):
            list(open_destination(s3.settings("anything", as_of="2026-11-20T03:00:00Z", **at)).list())
        with pytest.raises(Refused, match="more versions follow"):
            open_destination(s3.settings("anything", immutable_days=3, **at)).delete("docs/a")


def test_versions_go_on_with_the_page_that_failed(s3: S3Server) -> None:
    """Every other request fails. Between two objects some services name no version to go on from."""
    mark = "<IsTruncated>true</IsTruncated><NextKeyMarker>docs/{}</NextKeyMarker>"
    last = "<IsTruncated>false</IsTruncated>"
    pages = [page_of_versions(mark.format(name), name) for name in "abc"] + [page_of_versions(last, "d")]
    asked = count()

    def answer(verb: str, headers: Mapping[str, str]) -> Answer:
        number = next(asked)
        return (200, XML, pages[min(number // 2, 3)]) if number % 2 else (503, XML, b"")

    settings = s3.settings("anything", as_of="2026-11-20T03:00:00Z", deadline=timedelta(seconds=20))
    with answering_server(answer) as url:
        past = Retrying(S3(settings.model_copy(update={"endpoint": url})), settings, first_pause=0.01)
        assert [each.name for each in past.list()] == [f"docs/{name}" for name in "abcd"]
    assert next(asked) == 8


def test_what_comes_in_chunks_has_no_length_and_is_read(s3: S3Server) -> None:
    kept = {**MARKS, "Transfer-Encoding": "chunked", "x-amz-meta-crc32c": crc32c(b"stored")}

    def answer(verb: str, headers: Mapping[str, str]) -> Answer:
        return 200, kept, b"6\r\nstored\r\n0\r\n\r\n"

    with answering_server(answer) as url:
        assert open_destination(s3.settings("anything", endpoint=url, **HASTY)).get("kept/one") == b"stored"


def test_a_container_that_nobody_knows_is_no_lack_of_one_object(azure: AzureServer) -> None:
    with answering_server(lambda verb, headers: (404, MARKS, b"")) as url:
        at = open_destination(azure.settings("anything", url=f"{url}/account", **HASTY))
        for operation in (lambda: list(at.list()), lambda: at.put("a", b"1")):
            with pytest.raises(NoStore):
                operation()

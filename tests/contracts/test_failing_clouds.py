"""Clouds that let nobody in, run full, or are gone; and an S3 that does not check what it is sent."""

from __future__ import annotations

import random
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.destinations import Destination, open_destination
from tasks.destinations.body import crc32c
from tasks.destinations.immutable import immutable
from tasks.destinations.pouring import pour
from tasks.destinations.s3 import S3
from tasks.errors import BackupError, Damaged, Unavailable
from tests.contracts.failing_destination_contract import (
    Attempt,
    FullDestinationContract,
    RefusingDestinationContract,
    VanishingDestinationContract,
)
from tests.free_port import free_port
from tests.stores.answering_server import Answer, answering_server
from tests.stores.azure import AzureServer
from tests.stores.faulty_proxy import faulty_proxy
from tests.stores.gcs import GcsServer
from tests.stores.rgw import RgwServer
from tests.stores.s3 import S3Server

HASTY: dict[str, Any] = {"deadline": timedelta(seconds=0.5)}


def attempt_by(stranger: Destination) -> Attempt:
    def attempt(operation: Callable[[Destination], object]) -> BackupError:
        with pytest.raises(BackupError) as caught:
            operation(stranger)
        return caught.value

    return attempt


class TestRgwOfAnother(RefusingDestinationContract):
    """A user of the same service, who may read somewhere else."""

    @pytest.fixture
    def bucket(self, rgw: RgwServer) -> str:
        return rgw.bucket()

    @pytest.fixture
    def destination(self, rgw: RgwServer, bucket: str) -> Destination:
        return open_destination(rgw.settings(bucket))

    @pytest.fixture
    def refused(self, rgw: RgwServer, bucket: str) -> Attempt:
        elsewhere = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::elsewhere/*"}
        user = rgw.user("stranger", {"Version": "2012-10-17", "Statement": [elsewhere]})
        return attempt_by(open_destination(rgw.settings(bucket, **user)))


class TestAzureOfAnother(RefusingDestinationContract):
    """By a signature that is no longer valid."""

    @pytest.fixture
    def container(self, azure: AzureServer) -> str:
        return azure.container()

    @pytest.fixture
    def destination(self, azure: AzureServer, container: str) -> Destination:
        return open_destination(azure.settings(container))

    @pytest.fixture
    def refused(self, azure: AzureServer, container: str) -> Attempt:
        signature = azure.signature(container, "rcwdl", hours=-1)
        return attempt_by(open_destination(azure.settings(container, account_key=None, sas=signature)))


class TestGcsOfAnother(RefusingDestinationContract):
    """A service account without any right."""

    @pytest.fixture
    def bucket(self, gcs: GcsServer) -> str:
        return gcs.bucket()

    @pytest.fixture
    def destination(self, gcs: GcsServer, bucket: str) -> Destination:
        return open_destination(gcs.settings(bucket))

    @pytest.fixture
    def refused(self, gcs: GcsServer, bucket: str) -> Attempt:
        key = gcs.account("stranger", [])
        return attempt_by(open_destination(gcs.settings(bucket, anonymous=False, credentials=key)))


class TestRgwBeyondItsQuota(FullDestinationContract):
    @pytest.fixture
    def full(self, rgw: RgwServer) -> Destination:
        bucket = rgw.bucket()
        rgw.limit(bucket, 8 << 20)
        return open_destination(rgw.settings(bucket))


class TestRgwWithoutItsBucket(VanishingDestinationContract):
    @pytest.fixture
    def bucket(self, rgw: RgwServer) -> str:
        return rgw.bucket()

    @pytest.fixture
    def destination(self, rgw: RgwServer, bucket: str) -> Destination:
        return open_destination(rgw.settings(bucket))

    @pytest.fixture
    def vanish(self, rgw: RgwServer, bucket: str) -> Callable[[], None]:
        def remove() -> None:
            rgw.client.delete_object(Bucket=bucket, Key="kept/one")
            rgw.client.delete_bucket(Bucket=bucket)

        return remove


class TestAzureWithoutItsContainer(VanishingDestinationContract):
    @pytest.fixture
    def container(self, azure: AzureServer) -> str:
        return azure.container()

    @pytest.fixture
    def destination(self, azure: AzureServer, container: str) -> Destination:
        return open_destination(azure.settings(container))

    @pytest.fixture
    def vanish(self, azure: AzureServer, container: str) -> Callable[[], None]:
        return lambda: azure.client.delete_container(container)


class TestGcsWithoutItsBucket(VanishingDestinationContract):
    @pytest.fixture
    def bucket(self, gcs: GcsServer) -> str:
        return gcs.bucket()

    @pytest.fixture
    def destination(self, gcs: GcsServer, bucket: str) -> Destination:
        return open_destination(gcs.settings(bucket))

    @pytest.fixture
    def vanish(self, gcs: GcsServer, bucket: str) -> Callable[[], None]:
        def remove() -> None:
            url = f"{gcs.url}/storage/v1/b/{bucket}"
            request = urllib.request.Request(url, method="DELETE")  # noqa: S310 - our own
            with urllib.request.urlopen(request, timeout=10):  # noqa: S310
                pass

        return remove


@pytest.mark.parametrize("kind", ["s3", "azure", "gcs"])
def test_a_server_that_is_gone_is_unavailable_never_empty(request: pytest.FixtureRequest, kind: str) -> None:
    server: Any = request.getfixturevalue(kind)
    nowhere = f"http://127.0.0.1:{free_port()}"
    where = {"url": f"{nowhere}/account"} if kind == "azure" else {"endpoint": nowhere}
    gone = open_destination(server.settings("anything", **where, **HASTY))
    for operation in (
        lambda: gone.put("kept/two", b"2"),
        lambda: gone.get("kept/one"),
        lambda: gone.get("kept/one", 0, 1),
        lambda: list(gone.list()),
        lambda: gone.delete("kept/one"),
    ):
        with pytest.raises(Unavailable) as caught:
            operation()
        assert len(str(caught.value).splitlines()) == 1


PAGE = b"<html>Please log in, dear guest.</html>"
HTML = {"Content-Type": "text/html"}
TAGGED = {"ETag": '"65a1-26"'}


@pytest.mark.parametrize("kind", ["s3", "azure", "gcs"])
@pytest.mark.parametrize(
    "answer",
    [
        (200, HTML, PAGE),
        (200, HTML | TAGGED, PAGE),
        (200, TAGGED, b""),
        (206, TAGGED | {"Content-Range": f"bytes 0-{len(PAGE) - 1}/{len(PAGE)}"}, PAGE),
        (200, {"Content-Type": "application/json"}, b'{"error": "log in"}'),
        (204, {}, b""),
        (302, {"Location": "/login"}, b""),
        (404, HTML, b"<h1>Not Found</h1>"),
        (404, {}, b""),
        (412, {}, b""),
    ],
    ids=[
        "page",
        "tagged page",
        "nothing",
        "part",
        "json",
        "no content",
        "elsewhere",
        "not found",
        "no such thing",
        "taken",
    ],
)
def test_what_something_else_answers_is_neither_an_object_nor_the_lack_of_one(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, answer: Answer
) -> None:
    """Such as a network for guests, which has one page for all that is asked, in place of the service."""
    server: Any = request.getfixturevalue(kind)
    with answering_server(lambda verb, headers: answer) as url, (tmp_path / "file").open("wb") as file:
        where = {"url": f"{url}/account"} if kind == "azure" else {"endpoint": url}
        elsewhere = open_destination(server.settings("anything", **where, **HASTY))
        for operation in (
            lambda: elsewhere.put("kept/two", PAGE),
            lambda: elsewhere.get("kept/one"),
            lambda: elsewhere.get("kept/one", 0, len(PAGE)),
            lambda: pour(elsewhere, "kept/one", file),
            lambda: list(elsewhere.list()),
            # That of Google says no more; what is not deleted is found by the next prune.
            *((lambda: elsewhere.delete("kept/one"),) if (kind, answer[0]) != ("gcs", 204) else ()),
            lambda: immutable(elsewhere).lock("kept/one", datetime.now(UTC) + timedelta(days=1)),
            lambda: immutable(elsewhere).locked_until("kept/one"),
        ):
            with pytest.raises(Unavailable) as caught:
                operation()
            assert len(str(caught.value).splitlines()) == 1


MARKS = {"ETag": '"1"', "x-amz-request-id": "1", "X-GUploader-UploadID": "1", "x-ms-request-id": "1"}
"""As the services themselves give."""


@pytest.mark.parametrize("kind", ["s3", "azure", "gcs"])
def test_another_part_than_was_asked_for_is_not_taken(request: pytest.FixtureRequest, kind: str) -> None:
    server: Any = request.getfixturevalue(kind)
    part = (206, MARKS | {"Content-Range": "bytes 0-3/100", "x-ms-blob-type": "BlockBlob"}, b"wxyz")
    with answering_server(lambda verb, headers: part) as url:
        where = {"url": f"{url}/account"} if kind == "azure" else {"endpoint": url}
        elsewhere = open_destination(server.settings("anything", **where, **HASTY))
        with pytest.raises(Unavailable, match="range"):
            elsewhere.get("kept/one", 50, 4)


def test_a_checksum_counts_in_whatever_case_a_proxy_sends_its_name(s3: S3Server, tmp_path: Path) -> None:
    kept = MARKS | {"X-Amz-Meta-Crc32c": crc32c(b"what was stored")}
    with (
        answering_server(lambda verb, headers: (200, kept, b"what was St0red")) as url,
        (tmp_path / "f").open("wb") as file,
    ):
        elsewhere = open_destination(s3.settings("anything", endpoint=url, **HASTY))
        with pytest.raises(Damaged):
            elsewhere.get("kept/one")
        with pytest.raises(Damaged):
            pour(elsewhere, "kept/one", file)


class TestAnS3ThatDoesNotCheckWhatItIsSent:
    content = random.Random(1).randbytes(2_000_000)

    def test_what_arrived_damaged_is_removed_and_sent_again(self, s3: S3Server) -> None:
        settings = s3.settings(s3.bucket(), signature="s3", headers=("X-Unchecked: yes",))
        with faulty_proxy(s3.url) as (proxy, url):
            through = settings.model_copy(update={"endpoint": url})
            proxy.coming = [("request flipped", 0.5)]
            with pytest.raises(Unavailable, match=r"arrived damaged .* was removed"):
                S3(through).put("packs/one", self.content)
            assert list(open_destination(settings).list()) == []
            proxy.coming = [("request flipped", 0.5)]
            open_destination(through).put("packs/one", self.content)
        assert open_destination(settings).get("packs/one") == self.content

    def test_a_tag_of_another_kind_is_no_damage_and_costs_one_look(self, s3: S3Server) -> None:
        settings = s3.settings(s3.bucket(), signature="s3", headers=("X-Tag: of its own",))
        with faulty_proxy(s3.url) as (proxy, url):
            destination = S3(settings.model_copy(update={"endpoint": url}))
            for name in ("packs/one", "packs/two", "packs/three"):
                destination.put(name, self.content)
                assert destination._tags_are_md5 is False
            assert proxy.requests == 4
        assert [each.size for each in open_destination(settings).list()] == [len(self.content)] * 3

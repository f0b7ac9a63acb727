"""What Azure answers only where something is wrong: no wrong bytes come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.destinations import azure as azure_module
from tasks.destinations import azure_content
from tasks.destinations.azure import Azure
from tasks.destinations.azure_settings import AzureSettings
from tasks.destinations.body import Body, crc32c
from tasks.errors import BackupError, Damaged, Refused, Unavailable
from tasks.secret import Secret
from tests.stores.answering_server import Answer, Answering, answering_server
from tests.stores.azure import ACCOUNT, KEY, AzureServer

MIB = 1 << 20


@contextmanager
def azure_that(answering: Answering, folder: Path, **options: Any) -> Iterator[Azure]:
    """A destination whose service answers so."""

    def numbered(verb: str, headers: Mapping[str, str]) -> Answer:
        status, told, content = answering(verb, headers)
        return status, {"x-ms-request-id": "1", **told}, content

    (folder / "key").write_text(KEY)
    key = Secret(reference=f"file:{folder / 'key'}")
    with answering_server(numbered) as url:
        yield Azure(AzureSettings(url=f"{url}/{ACCOUNT}", container="backups", account_key=key, **options))


def part(content: bytes, start: int, total: int, **headers: str) -> Answer:
    span = f"bytes {start}-{start + len(content) - 1}/{total}"
    return 206, {"Content-Range": span, "ETag": '"1"', "x-ms-blob-type": "BlockBlob", **headers}, content


def asked(headers: Mapping[str, str]) -> tuple[int, int]:
    first, last = headers["x-ms-range"].removeprefix("bytes=").split("-")
    return int(first), int(last)


def test_a_part_that_was_damaged_on_its_way_is_not_taken(tmp_path: Path) -> None:
    def answering(verb: str, headers: Mapping[str, str]) -> Answer:
        assert headers["x-ms-range-get-content-md5"] == "true"
        return part(b"0123456789", 5, 1024, **{"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="})

    with (
        azure_that(answering, tmp_path) as destination,
        pytest.raises(Unavailable, match="arrived damaged"),
    ):
        destination.get("packs/one", 5, 10)


def test_an_object_that_lost_its_content_is_damaged_not_empty(tmp_path: Path) -> None:
    def answering(verb: str, headers: Mapping[str, str]) -> Answer:
        kept = {"X-Ms-Meta-Crc32c": crc32c(b"what was stored"), "x-ms-blob-type": "BlockBlob"}
        return (200, kept, b"") if verb == "HEAD" else (416, {"x-ms-error-code": "InvalidRange"}, b"")

    with azure_that(answering, tmp_path) as destination, (tmp_path / "file").open("wb") as file:
        with pytest.raises(Damaged, match="not what was stored"):
            destination.get("packs/one")
        with pytest.raises(Damaged, match="not what was stored"):
            destination.pour("packs/one", file)


def test_parts_of_two_objects_are_never_joined(tmp_path: Path) -> None:
    def answering(verb: str, headers: Mapping[str, str]) -> Answer:
        first, last = asked(headers)
        if headers.get("If-Match", '"new"') != '"new"':
            return 412, {"x-ms-error-code": "ConditionNotMet"}, b""
        tag = '"new"' if first else '"old"'
        return part(bytes(last + 1 - first), first, 9 * MIB, ETag=tag)

    with azure_that(answering, tmp_path) as destination, pytest.raises(Unavailable):
        destination.get("packs/one", 0, 9 * MIB)


def test_what_arrives_damaged_at_a_container_that_locks_is_sent_again(tmp_path: Path) -> None:
    def answering(verb: str, headers: Mapping[str, str]) -> Answer:
        return (404, {}, b"") if verb == "HEAD" else (400, {"x-ms-error-code": "Md5Mismatch"}, b"")

    with azure_that(answering, tmp_path, immutable_days=3) as destination, pytest.raises(Unavailable, match="damaged"):
        destination.put("packs/one", b"content")


def test_what_is_sent_is_not_sent_elsewhere(tmp_path: Path) -> None:
    def answering(verb: str, headers: Mapping[str, str]) -> Answer:
        return 307, {"Location": f"http://127.0.0.1:9/{ACCOUNT}/backups/packs/one"}, b""

    with azure_that(answering, tmp_path) as destination, pytest.raises(Refused, match="307"):
        destination.put("packs/one", b"content")


def test_a_content_that_the_sdk_leaves_out_is_refused_not_stored_as_nothing(
    azure: AzureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_its_hook(body: Body) -> dict[str, Any]:
        return {name: value for name, value in azure_content.sending(body).items() if name != "raw_request_hook"}

    monkeypatch.setattr(azure_module, "sending", without_its_hook)
    destination = Azure(azure.settings(azure.container()))
    with pytest.raises(BackupError):
        destination.put("packs/one", b"content")
    assert list(destination.list()) == []

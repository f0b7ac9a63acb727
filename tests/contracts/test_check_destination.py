"""What `check` says of a destination: one clear line for each thing that can be wrong, found on real servers."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any
from unittest import mock

import pytest

from tasks.check import Finding, check, check_destination
from tasks.destinations.reach import skew
from tasks.destinations.rights import Role
from tasks.destinations.rights.azure import permitted as azure_permitted
from tasks.destinations.rights.gcs import permitted as gcs_permitted
from tasks.destinations.rights.s3 import document
from tasks.errors import NotFound, Refused, Unavailable
from tasks.installation import Installation
from tasks.secret import Secret
from tasks.settings import DestinationSettings, Settings, SourceSettings
from tasks.sources.docs import DocsSettings
from tests.free_port import free_port
from tests.stores.answering_server import Answer, answering_server
from tests.stores.azure import AzureServer
from tests.stores.gcs import GcsServer
from tests.stores.rgw import RgwServer
from tests.stores.tls_front import tls_front

WRITES = "writes, reads, lists, never overwrites"


def checked(settings: DestinationSettings, role: Role = "writer") -> list[Finding]:
    """Quickly, and in lines that are lines."""
    started = time.monotonic()
    found = list(check_destination(Installation(Settings(destinations={"far": settings}, sources={})), "far", role))
    assert time.monotonic() - started < 60
    assert all(len(finding.says.splitlines()) == 1 for finding in found)
    return found


def says(settings: DestinationSettings, role: Role = "writer") -> str:
    """All is well, and this is what was found."""
    (finding,) = checked(settings, role)
    assert finding.state == "good", finding
    return finding.says


def wrong(settings: DestinationSettings, role: Role = "writer") -> str:
    (finding,) = checked(settings, role)
    assert finding.state == "bad", finding
    return finding.says


class TestS3:
    def test_each_role_is_found_to_have_what_it_needs(self, rgw: RgwServer) -> None:
        settings = rgw.settings(rgw.bucket(), prefix="geometra")
        mine = {
            role: settings.model_copy(update=rgw.user(f"check-{role}", document(settings, role)))
            for role in ("writer", "pruner", "reader")
        }
        assert says(mine["writer"]) == f"{WRITES}, may not delete (right for a worker that only writes)"
        assert says(mine["reader"], "reader") == "lists, reads"
        assert says(mine["pruner"], "pruner") == f"{WRITES}, deletes"
        assert says(mine["reader"], "reader") == "lists, holds nothing yet, so nothing was read"
        assert "it needs s3:PutObject" in wrong(mine["reader"])
        assert "it needs s3:DeleteObject" in wrong(mine["writer"], "pruner")

    def test_each_role_is_found_to_have_what_it_needs_where_objects_are_locked(self, rgw: RgwServer) -> None:
        settings = rgw.settings(rgw.locking_bucket(), prefix="geometra", immutable_days=30)
        for role, deletes in (("writer", "may not delete"), ("pruner", "deletes")):
            user = rgw.user(f"lock-{role}", document(settings, role))  # type: ignore[arg-type]
            good, weak = checked(settings.model_copy(update=user), role)  # type: ignore[arg-type]
            assert good.says.startswith("writes, reads, lists, locks for 30 days, " + deletes)
            # As Ceph 16 does, and newer releases do not.
            assert weak.state == "weak"
            assert "ignores `If-None-Match`" in weak.says

    def test_a_bucket_that_can_not_lock_is_told_with_what_to_type(self, rgw: RgwServer) -> None:
        line = wrong(rgw.settings(bucket := rgw.bucket(), immutable_days=30))
        assert f"`aws s3api put-bucket-versioning --bucket {bucket} " in line

    @pytest.mark.parametrize(
        ("role", "right"),
        [
            ("writer", "s3:PutObject"),
            ("writer", "s3:ListBucket"),
            ("reader", "s3:ListBucket"),
            ("reader", "s3:GetObject"),
        ],
    )
    def test_a_right_that_is_missing_is_named(self, rgw: RgwServer, role: Role, right: str) -> None:
        settings = rgw.settings(rgw.bucket())
        rgw.client.put_object(Bucket=settings.bucket, Key="of-another", Body=b"x")  # one's own may always be read here
        policy = document(settings, role)
        for statement in policy["Statement"]:
            statement["Action"] = [action for action in statement["Action"] if action != right]
        policy["Statement"] = [statement for statement in policy["Statement"] if statement["Action"]]
        assert f"needs {right}" in wrong(settings.model_copy(update=rgw.user("lacking", policy)), role)

    def test_a_bucket_that_is_not_there(self, rgw: RgwServer) -> None:
        assert "there is no S3 bucket `nowhere`" in wrong(rgw.settings("nowhere"))

    def test_a_key_that_is_not_known_and_one_that_is_wrong(self, rgw: RgwServer, tmp_path: Path) -> None:
        (tmp_path / "other").write_text("other")
        other, bucket = Secret(reference=f"file:{tmp_path / 'other'}"), rgw.bucket()
        assert wrong(rgw.settings(bucket, access_key=other)).endswith(
            "does not know the access key: check `access_key`"
        )
        assert "check `secret_key`" in wrong(rgw.settings(bucket, secret_key=other))
        missing = Secret(reference="env:NO_SUCH_SECRET")
        assert "`NO_SUCH_SECRET` is not set" in wrong(rgw.settings(bucket, secret_key=missing))

    def test_a_clock_that_is_wrong(self, rgw: RgwServer) -> None:
        """Signed by a machine that is an hour ahead, refused by a server that looks."""
        settings = rgw.settings(rgw.bucket())
        later = datetime.now(UTC) + timedelta(hours=1)
        with (
            mock.patch("botocore.auth.get_current_datetime", return_value=later.replace(tzinfo=None)),
            mock.patch("tasks.destinations.reach.now", return_value=later),
        ):
            bad, weak = checked(settings)
        assert "says that this machine's clock is wrong: set it" in bad.says
        assert re.search(r"(59|60) min \d+ s ahead of the service's", weak.says)
        assert "timedatectl" in weak.advice

    def test_another_region(self, rgw: RgwServer) -> None:
        """As Amazon's documentation says that it answers; no server here has regions."""

        def elsewhere(verb: str, headers: Mapping[str, str]) -> Answer:
            if verb == "HEAD":
                return 200, {}, b""
            code = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"
            return 400, {"x-amz-bucket-region": "eu-west-1"}, code

        with answering_server(elsewhere) as url:
            assert wrong(rgw.settings("backups", endpoint=url)).endswith(
                "is in another region: set `region` to `eu-west-1`"
            )


class TestAzure:
    def test_each_role_is_found_to_have_what_it_needs(self, azure: AzureServer) -> None:
        container = azure.container()
        mine: dict[str, Any] = {}
        for role in ("writer", "pruner", "reader"):
            permissions = azure_permitted(azure.settings(container), role)
            sas = azure.signature(container, permissions)
            mine[role] = azure.settings(container, account_key=None, sas=sas)
        assert says(mine["writer"]) == f"{WRITES}, may not delete (right for a worker that only writes)"
        assert says(mine["reader"], "reader") == "lists, reads"
        assert says(mine["pruner"], "pruner") == f"{WRITES}, deletes"
        assert "they need `c` (create)" in wrong(mine["reader"])
        assert "they need `d` (delete)" in wrong(mine["writer"], "pruner")

    def test_what_is_wrong_is_told_in_one_line(self, azure: AzureServer, tmp_path: Path) -> None:
        container = azure.container()
        ended = azure.signature(container, "rcl", hours=-1)
        assert "make a new one" in wrong(azure.settings(container, account_key=None, sas=ended))
        assert "they need `l` (list)" in wrong(
            azure.settings(container, account_key=None, sas=azure.signature(container, "rc"))
        )
        (tmp_path / "key").write_text("AAAA")
        key = Secret(reference=f"file:{tmp_path / 'key'}")
        assert "check the credentials" in wrong(azure.settings(container, account_key=key))
        assert "there is no Azure container `nowhere`" in wrong(azure.settings("nowhere"))
        # Azurite does not know the locks that it is asked for; the service would say that the container is not made so.
        assert "does not know how" in wrong(azure.settings(container, immutable_days=30))


class TestGcs:
    def test_each_role_is_found_to_have_what_it_needs(self, gcs: GcsServer) -> None:
        for bucket, options in ((gcs.bucket(), {}), (gcs.bucket(retaining=True), {"immutable_days": 30})):
            mine = {}
            for role in ("writer", "pruner", "reader"):
                settings = gcs.settings(bucket, **options)
                file = gcs.account(f"{role}-{bucket}", gcs_permitted(settings, role))
                mine[role] = gcs.settings(bucket, anonymous=False, credentials=file, **options)
            locks = ", locks for 30 days" if options else ""
            assert says(mine["writer"]) == f"{WRITES}{locks}, may not delete (right for a worker that only writes)"
            assert says(mine["reader"], "reader") == "lists, reads"
            assert says(mine["pruner"], "pruner") == f"{WRITES}{locks}, deletes"
            assert "they need storage.objects.create" in wrong(mine["reader"])
            assert "they need storage.objects.delete" in wrong(mine["writer"], "pruner")

    def test_what_is_wrong_is_told_in_one_line(self, gcs: GcsServer, tmp_path: Path) -> None:
        bucket = gcs.bucket()
        stranger = gcs.account("stranger", None)
        assert "does not accept the credentials" in wrong(gcs.settings(bucket, anonymous=False, credentials=stranger))
        no_file = gcs.settings(bucket, anonymous=False, credentials=tmp_path / "none.json")
        assert "is no file with the key of a service account" in wrong(no_file)
        assert "there is no GCS bucket `nowhere`" in wrong(gcs.settings("nowhere"))
        assert "`gcloud storage buckets create" in wrong(gcs.settings(bucket, immutable_days=30))


class TestTheWayThere:
    def test_nothing_listens(self, gcs: GcsServer) -> None:
        port = free_port()
        assert wrong(gcs.settings("any", endpoint=f"http://127.0.0.1:{port}")) == (
            f"nothing listens at 127.0.0.1:{port}: correct the address, or start the service"
        )

    def test_no_such_host(self, gcs: GcsServer) -> None:
        line = wrong(gcs.settings("any", endpoint="https://storage.nowhere.invalid"))
        assert line.startswith("there is no host `storage.nowhere.invalid`")

    def test_no_answer_at_all(self) -> None:
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen()
            with pytest.raises(Unavailable, match=r"no answer from 127\.0\.0\.1"):
                skew(f"http://127.0.0.1:{deaf.getsockname()[1]}", seconds=0.3)

    def test_a_certificate_that_is_not_trusted_and_one_for_another_host(self, gcs: GcsServer, tmp_path: Path) -> None:
        with tls_front(gcs.url, tmp_path) as front:
            assert "name the one that signed it in `ca_file`" in wrong(gcs.settings("any", endpoint=front.url))
            assert skew(front.url, front.ca_file) is not None
            with pytest.raises(Refused, match="is for another host"):
                skew(front.url.replace("127.0.0.1", "localhost"), front.ca_file)
        with pytest.raises(Refused, match="does not speak TLS"):
            skew(gcs.url.replace("http", "https"))

    def test_what_has_no_answer_for_that_question_is_no_fault(self) -> None:
        """A service may close the connection on a request without credentials."""
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()

            def close_one() -> None:
                silent.accept()[0].close()

            closing = Thread(target=close_one, daemon=True)
            closing.start()
            assert skew(f"http://127.0.0.1:{silent.getsockname()[1]}") is None
            closing.join()

    @pytest.mark.parametrize(("hours", "told"), [(2, 2.0), (-3, -3.0)])
    def test_how_far_a_clock_is_off(self, gcs: GcsServer, hours: int, told: float) -> None:
        ahead = skew(gcs.url, clock=lambda: datetime.now(UTC) + timedelta(hours=hours))
        assert ahead is not None
        assert abs(ahead - timedelta(hours=told)) < timedelta(seconds=5)
        right = skew(gcs.url)
        assert right is not None
        assert abs(right) < timedelta(seconds=2)


def test_a_destination_that_is_not_configured_is_named(gcs: GcsServer) -> None:
    installation = Installation(Settings(destinations={"far": gcs.settings("any")}, sources={}))
    with pytest.raises(NotFound, match="there is no destination `near`; known: far"):
        list(check_destination(installation, "near"))


def test_a_destination_that_does_not_answer_is_not_asked_again_for_each_source(gcs: GcsServer, tmp_path: Path) -> None:
    settings = gcs.settings("any", endpoint=f"http://127.0.0.1:{free_port()}")
    sources: dict[str, SourceSettings] = {name: DocsSettings(kind="docs", paths=(tmp_path,)) for name in ("a", "b")}
    whole = Settings(destinations={"far": settings}, sources=sources, state=tmp_path / "state")
    found = list(check(Installation(whole)))
    assert [finding.what for finding in found if "far" in finding.what] == ["destination far"]

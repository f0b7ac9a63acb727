"""What is locked: from the moment it is stored, for everybody, until its day, which can only be put off."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from tasks.destinations import Destination, Prefixed, open_destination
from tasks.destinations.immutable import Immutable, immutable, term_of
from tasks.errors import Locked, Missing, Refused
from tests.stores.azure import AzureServer
from tests.stores.gcs import GcsServer
from tests.stores.rgw import RgwServer

DAYS = 30
SHORT = {"immutable_days": 2 / 86400}
"""Two seconds: no file could say so, and no test could wait for a day."""
LASTS = ["packs/0a/0a1b", "index/0a", "snapshots/20261127", "keys/0a", "repository"]
PASSES = ["proofs/20261127/a", "condemned/20261127"]


def seen(whole: Destination) -> tuple[Destination, Immutable]:
    """As one source sees it."""
    destination = Prefixed(whole, "docs")
    return destination, immutable(destination)


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


class LockContract:
    """A store that keeps what it is told to keep."""

    @pytest.fixture
    def opened(self) -> Callable[..., Destination]:
        """The same store, with the options of `immutable_days`."""
        raise NotImplementedError

    @pytest.fixture
    def unprepared(self) -> Destination:
        """A store that can't lock, where that is asked for."""
        raise NotImplementedError

    def test_what_a_restore_needs_is_locked_as_it_is_stored_and_nothing_else(
        self, opened: Callable[..., Destination]
    ) -> None:
        destination, locking = seen(opened(immutable_days=DAYS))
        assert locking.term == timedelta(days=DAYS)
        for name in [*LASTS, *PASSES]:
            destination.put(name, b"content")
        for name in LASTS:
            until = locking.locked_until(name)
            assert until is not None
            assert in_days(DAYS - 0.01) < until < in_days(DAYS + 0.01), name
            with pytest.raises(Locked, match=r"locked.*deleted later"):
                destination.delete(name)
            assert destination.get(name) == b"content"
        for name in PASSES:
            assert locking.locked_until(name) is None
            destination.delete(name)
        assert [listed.name for listed in destination.list()] == sorted(LASTS)

    def test_what_is_let_go_can_be_deleted_when_its_lock_is_over(self, opened: Callable[..., Destination]) -> None:
        whole = opened(**SHORT)
        destination, locking = seen(whole)
        destination.put("packs/a", b"content")
        until = locking.locked_until("packs/a")
        assert until is not None
        with pytest.raises(Locked):
            destination.delete("packs/a")
        time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()) + 0.2)
        destination.delete("packs/a")
        assert list(destination.list()) == []
        with pytest.raises(Missing):
            destination.delete("packs/a")
        destination.put("packs/a", b"again")
        assert destination.get("packs/a") == b"again"

    def test_a_lock_can_be_put_off_and_never_brought_forward(self, opened: Callable[..., Destination]) -> None:
        destination, locking = seen(opened(immutable_days=DAYS))
        destination.put("packs/a", b"content")
        locking.lock("packs/a", in_days(40))
        longer = locking.locked_until("packs/a")
        assert longer is not None
        assert longer > in_days(39.9)
        locking.lock("packs/a", in_days(5))
        assert locking.locked_until("packs/a") == longer
        destination.put("proofs/a", b"content")
        locking.lock("proofs/a", in_days(1))
        with pytest.raises(Locked):
            destination.delete("proofs/a")
        with pytest.raises(Missing):
            locking.lock("packs/b", in_days(1))

    def test_without_the_option_nothing_is_locked(self, opened: Callable[..., Destination]) -> None:
        destination, locking = seen(opened())
        assert locking.term is None
        assert term_of(destination) is None
        destination.put("packs/a", b"content")
        assert locking.locked_until("packs/a") is None

    def test_a_store_that_is_not_made_for_it_says_what_to_type(self, unprepared: Destination) -> None:
        destination, locking = seen(unprepared)
        with pytest.raises(Refused, match=r"not made to lock.*`(aws s3api|gcloud) .*") as caught:
            destination.put("packs/a", b"content")
        assert len(str(caught.value).splitlines()) == 1
        destination.put("proofs/a", b"content")
        with pytest.raises(Refused, match="not made to lock"):
            locking.lock("proofs/a", in_days(1))


class TestS3Lock(LockContract):
    @pytest.fixture
    def opened(self, rgw: RgwServer) -> Callable[..., Destination]:
        settings = rgw.settings(rgw.locking_bucket(), prefix="geometra")
        return lambda **options: open_destination(settings.model_copy(update=options))

    @pytest.fixture
    def unprepared(self, rgw: RgwServer) -> Destination:
        return open_destination(rgw.settings(rgw.bucket(), immutable_days=DAYS))

    def test_nobody_can_undo_it(self, rgw: RgwServer, opened: Callable[..., Destination]) -> None:
        """Here with the rights of the bucket's owner, who may do everything else."""
        from botocore.exceptions import ClientError

        destination, _ = seen(opened(immutable_days=DAYS))
        destination.put("packs/a", b"content")
        bucket, key = f"locking-{rgw._buckets}", "geometra/docs/packs/a"
        (version,) = rgw.client.list_object_versions(Bucket=bucket, Prefix=key)["Versions"]
        named: Any = {"Bucket": bucket, "Key": key, "VersionId": version["VersionId"]}
        attacks: list[Callable[[], Any]] = [
            lambda: rgw.client.delete_object(**named),
            lambda: rgw.client.delete_object(**named, BypassGovernanceRetention=True),
            lambda: rgw.client.put_object_retention(
                **named,
                Retention={"Mode": "GOVERNANCE", "RetainUntilDate": in_days(60)},
                BypassGovernanceRetention=True,
            ),
            lambda: rgw.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}),
        ]
        for attack in attacks:
            with pytest.raises(ClientError):
                attack()
        assert destination.get("packs/a") == b"content"

    def test_a_trial_can_be_undone_by_who_has_the_right(
        self, rgw: RgwServer, opened: Callable[..., Destination]
    ) -> None:
        destination, _ = seen(opened(immutable_days=DAYS, immutable_trial=True))
        destination.put("packs/a", b"content")
        with pytest.raises(Locked):
            destination.delete("packs/a")
        bucket, key = f"locking-{rgw._buckets}", "geometra/docs/packs/a"
        (version,) = rgw.client.list_object_versions(Bucket=bucket, Prefix=key)["Versions"]
        named: Any = {"Bucket": bucket, "Key": key, "VersionId": version["VersionId"]}
        rgw.client.delete_object(**named, BypassGovernanceRetention=True)
        assert list(destination.list()) == []

    def test_deleting_leaves_no_version_behind(self, rgw: RgwServer, opened: Callable[..., Destination]) -> None:
        destination, _ = seen(opened(immutable_days=DAYS))
        destination.put("proofs/a", b"content")
        destination.put("proofs/ab", b"content")
        bucket = f"locking-{rgw._buckets}"
        rgw.client.put_object(Bucket=bucket, Key="geometra/docs/proofs/a", Body=b"over it")
        rgw.client.delete_object(Bucket=bucket, Key="geometra/docs/proofs/a")  # marks it as deleted
        destination.delete("proofs/a")
        left = rgw.client.list_object_versions(Bucket=bucket)
        assert [each["Key"] for each in left["Versions"]] == ["geometra/docs/proofs/ab"]
        assert "DeleteMarkers" not in left


class TestGcsLock(LockContract):
    @pytest.fixture
    def opened(self, gcs: GcsServer) -> Callable[..., Destination]:
        settings = gcs.settings(gcs.bucket(retaining=True), prefix="geometra")
        return lambda **options: open_destination(settings.model_copy(update=options))

    @pytest.fixture
    def unprepared(self, gcs: GcsServer) -> Destination:
        return open_destination(gcs.settings(gcs.bucket(), immutable_days=DAYS))

    def test_what_goes_up_in_a_session_is_locked_as_well(self, opened: Callable[..., Destination]) -> None:
        destination, locking = seen(opened(immutable_days=DAYS))
        destination.put("packs/a", bytes(9 << 20))
        assert locking.locked_until("packs/a") is not None
        with pytest.raises(Locked):
            destination.delete("packs/a")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[requests.PreparedRequest]:
    """Every request of an SDK that sends by `requests`, which goes out as it is."""
    found: list[requests.PreparedRequest] = []
    send = requests.Session.send

    def sending(self: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        found.append(request)
        return send(self, request, **options)

    monkeypatch.setattr(requests.Session, "send", sending)
    return found


@pytest.mark.parametrize(("trial", "mode"), [(False, "Locked"), (True, "Unlocked")])
def test_azure_is_asked_for_a_version_level_policy_as_it_is_stored(
    azure: AzureServer, sent: list[requests.PreparedRequest], trial: bool, mode: str
) -> None:
    """Azurite takes a new blob's policy without keeping it, and knows no other: so the requests are looked at."""
    whole = open_destination(azure.settings(azure.container(), immutable_days=DAYS, immutable_trial=trial))
    destination, locking = seen(whole)
    destination.put("packs/a", b"content")
    destination.put("proofs/a", b"content")
    with pytest.raises(Refused, match="does not know how"):
        locking.lock("packs/a", in_days(40))
    stored, other, locked = [each for each in sent if each.method == "PUT" and "/docs/" in str(each.url)]
    assert stored.headers["x-ms-immutability-policy-mode"] == mode
    assert stored.headers["If-None-Match"] == "*"
    until = parsedate_to_datetime(str(stored.headers["x-ms-immutability-policy-until-date"]))
    assert abs(until - in_days(DAYS)) < timedelta(minutes=1)
    assert not [name for name in other.headers if "immutability" in name]
    assert str(locked.url).endswith("/docs/packs/a?comp=immutabilityPolicies")
    assert locked.headers["x-ms-immutability-policy-mode"] == mode

"""What only the clouds themselves can show of rights, locks, checksums, regions and clocks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from tasks.check import Finding, check_destination
from tasks.destinations import DESTINATIONS, Prefixed, open_destination
from tasks.destinations.immutable import immutable
from tasks.destinations.reach import skew
from tasks.destinations.remote import RemoteSettings
from tasks.destinations.rights import Role
from tasks.errors import BackupError, Exists, Locked, Missing, Refused
from tasks.installation import Installation
from tasks.settings import Settings

Live = Callable[..., RemoteSettings]


def checked(settings: RemoteSettings, role: Role = "writer") -> list[Finding]:
    return list(check_destination(Installation(Settings(destinations={"far": settings}, sources={})), "far", role))


def test_each_role_has_what_it_needs_and_no_more(live: Live) -> None:
    (writer,) = checked(live("writer"))
    assert writer.state == "good", writer
    assert writer.says.startswith("writes, reads, lists, never overwrites")
    assert writer.says.endswith("may not delete (right for a worker that only writes)")
    assert [finding.state for finding in checked(live("reader"), "reader")] == ["good"]
    assert [finding.state for finding in checked(live("pruner"), "pruner")] == ["good"]
    assert [finding.state for finding in checked(live("reader"))] == ["bad"]


def test_a_writer_can_neither_delete_nor_overwrite(live: Live) -> None:
    destination = open_destination(live("writer"))
    destination.put("docs/packs/a", b"content")
    with pytest.raises(Refused):
        destination.delete("docs/packs/a")
    with pytest.raises(Exists):
        destination.put("docs/packs/a", b"other")
    assert destination.get("docs/packs/a") == b"content"
    with pytest.raises(Missing):
        destination.get("docs/packs/none")


@pytest.mark.parametrize("cloud", ["s3"], indirect=True)
def test_a_writer_that_leaves_the_condition_out_is_refused_by_the_policy(live: Live) -> None:
    """`s3:if-none-match` in the policy: no server here knows it."""
    settings: Any = live("writer")
    if settings.endpoint:
        pytest.skip("the policy has this condition at Amazon's own service only")
    destination: Any = DESTINATIONS["s3"](settings)
    key = f"{settings.prefix}/docs/packs/a"
    destination.put(key, b"content")
    client = destination._client()
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_object(Bucket=settings.bucket, Key=key, Body=b"rubbish")
    assert destination.get(key) == b"content"


@pytest.mark.parametrize("trial", [True])
def test_what_is_locked_stays(live: Live, trial: bool) -> None:
    """As a trial, so that an owner can clean up at once; the service's own word for a real lock differs by one name."""
    whole = open_destination(live("locked", immutable_days=1, immutable_trial=trial))
    destination = Prefixed(whole, "docs")
    for name in ("packs/a", "index/a", "snapshots/a", "repository", "proofs/a"):
        destination.put(name, b"content")
    until = immutable(destination).locked_until("packs/a")
    assert until is not None
    assert timedelta(hours=23) < until - datetime.now(UTC) < timedelta(hours=25)
    with pytest.raises(Locked):
        destination.delete("packs/a")
    immutable(destination).lock("packs/a", until + timedelta(hours=5))
    assert immutable(destination).locked_until("packs/a") == until + timedelta(hours=5)
    immutable(destination).lock("packs/a", until)
    later = immutable(destination).locked_until("packs/a")
    assert later is not None
    assert later >= until
    destination.delete("proofs/a")
    assert destination.get("packs/a") == b"content"
    (good, *_) = checked(live("locked", immutable_days=1, immutable_trial=trial))
    assert "locks for 1 days" in good.says


def test_a_bucket_that_is_not_made_for_locks_says_what_to_type(live: Live) -> None:
    found = checked(live("owner", immutable_days=1, immutable_trial=True))
    assert found[0].state == "bad"
    assert any(f"`{tool} " in found[0].says for tool in ("aws", "az", "gcloud"))


@pytest.mark.parametrize("cloud", ["s3"], indirect=True)
def test_what_does_not_fit_its_checksum_is_not_stored(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = live("owner")
    destination = DESTINATIONS["s3"](settings)
    name = f"{settings.prefix}/docs/packs/wrong"
    monkeypatch.setattr("tasks.destinations.body.Body.md5", property(lambda _: bytes(16)))
    with pytest.raises(BackupError):
        destination.put(name, b"content")
    with pytest.raises(Missing):
        destination.get(name)


def test_this_machines_clock_is_right(live: Live) -> None:
    settings = live("owner")
    ahead = skew(settings.address, settings.ca_file)
    assert ahead is not None
    assert abs(ahead) < timedelta(minutes=1)


@pytest.mark.parametrize("cloud", ["s3"], indirect=True)
def test_a_wrong_clock_and_a_wrong_region_are_told(live: Live) -> None:
    settings: Any = live("owner")
    later = datetime.now(UTC) + timedelta(hours=1)
    with mock.patch("botocore.auth.get_current_datetime", return_value=later.replace(tzinfo=None)):
        (bad,) = checked(settings)
    assert "clock is wrong" in bad.says
    if not settings.endpoint:
        elsewhere = "eu-west-1" if settings.region != "eu-west-1" else "us-west-2"
        (bad,) = checked(live("owner", region=elsewhere))
        assert f"set `region` to `{settings.region}`" in bad.says

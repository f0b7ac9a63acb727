"""Nights with the least rights, on a server that enforces them: a writer that can't delete, a pruner, a reader."""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tasks.destinations.rights import Role
from tasks.destinations.rights.s3 import document
from tasks.destinations.s3_settings import S3Settings
from tasks.errors import Missing, Refused
from tasks.restore import Wanted, restore
from tests.flows import kinds
from tests.flows.house import House, Worker
from tests.flows.trees import grow, state_of
from tests.stores.rgw import RgwServer

CAPTURES = "control,files,transfer,transfer.local"
PROVES = "proof,restore"
KEEP = {"last": 1, "daily": 0, "weekly": 0, "monthly": 0, "within": "1s"}


class Guarded:
    """A house whose hosts hold keys of their own: backup.toml names variables, and each worker has its own."""

    def __init__(self, house: House, rgw: RgwServer, bucket: str, **options: Any) -> None:
        self.house, self.rgw = house, rgw
        self.original = grow(house.folder / "alone/originals", large=2_000_000)
        keys = {"access_key": "env:FAR_KEY", "secret_key": "env:FAR_SECRET"}
        far = {"kind": "s3", "bucket": bucket, "endpoint": rgw.url, "path_style": True, "prefix": "geometra", **keys}
        house.configure(
            {"docs": {"kind": "docs", "paths": [self.original]}},
            {"far": {**far, **options}},
            {"nightly": {"timezone": "UTC", "keep": KEEP}},
        )
        house.file.write_text('grace = "1s"\n' + house.file.read_text())
        settings = house.installation.settings.destinations["far"]
        assert isinstance(settings, S3Settings)
        self.settings = settings
        for role in ("writer", "pruner", "reader"):
            rgw.user(f"{bucket}-{role}", document(settings, role))

    def keys(self, role: Role) -> dict[str, str]:
        user = f"{self.settings.bucket}-{role}"
        return {"FAR_KEY": f"{user}-key", "FAR_SECRET": f"{user}-secret"}

    def worker(self, queues: str, role: Role) -> Worker:
        environment: dict[str, Any] = self.keys(role)
        return self.house.worker(queues=queues, **environment)

    def restored(self, role: Role, name: str) -> Path:
        into = self.house.folder / "restored" / name
        with mock.patch.dict(os.environ, self.keys(role)), kinds.registered():
            restore(self.house.installation, "docs", "far", Wanted(into))
        return into

    def snapshots(self) -> list[str]:
        with mock.patch.dict(os.environ, self.keys("reader")), kinds.registered():
            return self.house.installation.repository("docs", "far").snapshot_ids()


def test_a_night_passes_with_writers_rights_alone_and_pruning_takes_a_key_of_its_own(
    house: House, rgw: RgwServer
) -> None:
    guarded = Guarded(house, rgw, rgw.bucket())
    guarded.worker(CAPTURES, "writer")
    proof = guarded.worker(PROVES, "writer")
    assert house.night("nightly")["state"] == "done"
    state = state_of(guarded.original.parent)
    assert state_of(guarded.restored("reader", "first")) == state
    with pytest.raises(Refused, match="it needs s3:PutObject"), mock.patch.dict(os.environ, guarded.keys("reader")):
        house.installation.destination("far").put("any", b"thing")

    # As soon as something is to go, the writer's key does not do.
    (guarded.original / "new.txt").write_text("new")
    report = house.night("nightly")
    assert report["state"] == "failed"
    assert "`geometra-backup policy far --role pruner`" in str(report["failures"])
    assert len(guarded.snapshots()) == 2, "what is stored and proven stays so"

    proof.stop()
    guarded.worker(PROVES, "pruner")
    (guarded.original / "newer.txt").write_text("newer")
    report = house.night("nightly")
    assert report["state"] == "done", report
    assert len(guarded.snapshots()) == 1
    assert state_of(guarded.restored("reader", "last")) == state_of(guarded.original.parent)


def test_who_has_the_writers_key_can_destroy_nothing(house: House, rgw: RgwServer) -> None:
    """Tried with the SDK itself, as a thief would."""
    from botocore.exceptions import ClientError

    bucket = rgw.locking_bucket()
    guarded = Guarded(house, rgw, bucket, immutable_days=30)
    guarded.worker(CAPTURES, "writer")
    guarded.worker(PROVES, "pruner")
    report: dict[str, Any] = {}
    for night in range(2):
        (guarded.original / f"{night}.txt").write_text("x" * 1000 * night)
        report = house.night("nightly")
        assert report["state"] == "done", report
    pruned = [each for each in report["steps"].values() if each["verb"] == "prune"]
    assert [each["figures"]["locked"] for each in pruned] == [1], "let go by retention, and locked for a month"
    assert len(guarded.snapshots()) == 2
    state = state_of(guarded.original.parent)
    stored = rgw.client.list_object_versions(Bucket=bucket)["Versions"]
    thief: Any = rgw.client_of(f"{bucket}-writer")
    for version in stored:
        key = version["Key"]
        named: Any = {"Bucket": bucket, "Key": key, "VersionId": version["VersionId"]}
        attacks: list[Any] = [
            partial(thief.delete_object, Bucket=bucket, Key=key),
            partial(thief.delete_object, **named),
            partial(thief.delete_object, **named, BypassGovernanceRetention=True),
        ]
        if key.split("/")[2] not in ("proofs", "condemned"):
            sooner = {"Mode": "COMPLIANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=1)}
            attacks += [
                partial(thief.put_object_retention, **named, Retention=sooner),
                # Not even who owns the bucket, and may do everything else.
                partial(rgw.client.delete_object, **named),
                partial(rgw.client.delete_object, **named, BypassGovernanceRetention=True),
            ]
        for attack in attacks:
            with pytest.raises(ClientError, match=r"AccessDenied"):
                attack()
    for attack in (
        partial(thief.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}),
        partial(thief.delete_bucket_lifecycle, Bucket=bucket),
        partial(thief.delete_bucket, Bucket=bucket),
        partial(thief.put_bucket_policy, Bucket=bucket, Policy="{}"),
        partial(thief.list_objects_v2, Bucket="any-other"),
    ):
        with pytest.raises(ClientError):
            attack()
    assert state_of(guarded.restored("reader", "after")) == state
    before = datetime.now(UTC) + timedelta(seconds=1)
    time.sleep(1.5)

    # What this server lets a writer do is store another version over it; what was there stays, and can be named.
    lasting = [each for each in stored if "/packs/" in each["Key"]]
    pruner = rgw.client_of(f"{bucket}-pruner")
    contents = {each["Key"]: _read(pruner, bucket, each) for each in lasting}
    for each in lasting:
        thief.put_object(Bucket=bucket, Key=each["Key"], Body=b"rubbish")
    assert {each["Key"]: _read(pruner, bucket, each) for each in lasting} == contents
    # And with the pruner's key all of it can be marked as deleted. The day before is still there, in one line.
    for each in stored:
        pruner.delete_object(Bucket=bucket, Key=each["Key"])
    with pytest.raises(Refused, match="held backups of `docs` and holds none now"):
        guarded.snapshots()
    text = house.file.read_text()
    house.file.write_text(text.replace('kind = "s3"\n', f'kind = "s3"\nas_of = "{before.isoformat()}"\n'))
    shutil.rmtree(house.folder / "state" / "cache")
    assert state_of(guarded.restored("reader", "the day before")) == state
    with mock.patch.dict(os.environ, guarded.keys("pruner")):
        past = house.installation.destination("far", "docs")
        (snapshot, _) = past.list("snapshots/")
        for refused in (partial(past.put, "packs/a", b"a"), partial(past.delete, snapshot.name)):
            with pytest.raises(Refused, match="`as_of` shows what was there"):
                refused()
        with pytest.raises(Missing, match="was not there at"):
            past.get("packs/a")


def _read(client: Any, bucket: str, version: Any) -> bytes:
    found = client.get_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    content: bytes = found["Body"].read()
    return content

"""Nights to a folder and to a cloud: both have it, each restores it, and one that is down stops not the other."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tasks.restore import Wanted, restore
from tests.flows import kinds
from tests.flows.house import House
from tests.flows.trees import grow, state_of
from tests.stores.azure import AzureServer
from tests.stores.gcs import GcsServer
from tests.stores.s3 import S3Server


@pytest.fixture(params=["s3", "azure", "gcs"])
def cloud(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A table of backup.toml for a new, empty store."""
    server = request.getfixturevalue(request.param)
    if isinstance(server, S3Server):
        secrets = {"access_key": f"file:{server.folder / 'key'}", "secret_key": f"file:{server.folder / 'secret'}"}
        return {"kind": "s3", "bucket": server.bucket(), "endpoint": server.url, "path_style": True, **secrets}
    if isinstance(server, AzureServer):
        key = f"file:{server.folder / 'key'}"
        return {"kind": "azure", "container": server.container(), "url": server.url, "account_key": key}
    assert isinstance(server, GcsServer)
    return {"kind": "gcs", "bucket": server.bucket(), "endpoint": server.url, "anonymous": True, "prefix": "geometra"}


def test_a_night_goes_to_a_folder_and_to_a_cloud_and_comes_back_from_each(house: House, cloud: dict[str, Any]) -> None:
    original = grow(house.folder / "alone/originals", large=12_000_000)
    state = state_of(original.parent)
    house.configure(
        {"docs": {"kind": "docs", "paths": [original]}},
        {"here": {"kind": "local", "path": house.folder / "store"}, "cloud": cloud},
        {"nightly": {"timezone": "UTC"}},
    )
    house.worker()
    assert house.night("nightly")["state"] == "done"
    shutil.rmtree(house.folder / "state" / "cache")
    for destination in ("here", "cloud"):
        into = house.folder / "restored" / destination
        with kinds.registered():
            restore(house.installation, "docs", destination, Wanted(into))
        assert state_of(into) == state


def test_a_bucket_that_is_not_there_stops_not_the_folder_beside_it(house: House, s3: S3Server) -> None:
    original = grow(house.folder / "alone/originals")
    state = state_of(original.parent)
    secrets = {"access_key": f"file:{s3.folder / 'key'}", "secret_key": f"file:{s3.folder / 'secret'}"}
    cloud = {"kind": "s3", "bucket": "nowhere", "endpoint": s3.url, "path_style": True, **secrets}
    house.configure(
        {"docs": {"kind": "docs", "paths": [original]}},
        {"here": {"kind": "local", "path": house.folder / "store"}, "cloud": cloud},
        {"nightly": {"timezone": "UTC"}},
    )
    house.worker(GEOMETRA_BACKUP_WAITS="1")
    assert house.night("nightly")["state"] == "failed"
    into = house.folder / "restored"
    with kinds.registered():
        restore(house.installation, "docs", "here", Wanted(into))
    assert state_of(into) == state

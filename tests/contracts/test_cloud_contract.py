"""The contract of destinations, on the clouds: real SDKs over real connections to servers on this machine."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.destinations import Destination, open_destination
from tasks.destinations.remote import RemoteSettings
from tasks.errors import Exists
from tests.contracts.destination_contract import DestinationContract
from tests.stores.azure import AzureServer
from tests.stores.gcs import GcsServer
from tests.stores.rgw import RgwServer
from tests.stores.s3 import S3Server


class CloudContract(DestinationContract):
    rounds, kills, turns = 12, 5, 6
    many, unfinished_listings = 1100, 20
    arrives_late = True

    @pytest.fixture
    def settings(self) -> RemoteSettings:
        raise NotImplementedError

    @pytest.fixture
    def destination(self, settings: RemoteSettings) -> Destination:
        return open_destination(settings)

    @pytest.fixture
    def reopen(self, settings: RemoteSettings) -> Callable[[], Destination]:
        return lambda: open_destination(settings)


class TestS3(CloudContract):
    @pytest.fixture
    def settings(self, s3: S3Server) -> RemoteSettings:
        return s3.settings(s3.bucket())


class TestRgw(CloudContract):
    """A real service, not one made for tests: Ceph's."""

    @pytest.fixture
    def settings(self, rgw: RgwServer) -> RemoteSettings:
        return rgw.settings(rgw.bucket())


class TestAzure(CloudContract):
    @pytest.fixture
    def settings(self, azure: AzureServer) -> RemoteSettings:
        return azure.settings(azure.container())

    def test_a_signature_that_may_create_and_not_write_stores_a_pack(self, azure: AzureServer, tmp_path: Path) -> None:
        container = azure.container()
        destination = open_destination(
            azure.settings(container, account_key=None, sas=azure.signature(container, "crl"))
        )
        pack = tmp_path / "pack"
        pack.write_bytes(random.Random(34).randbytes(34 << 20))
        destination.put("packs/0a/0a", pack)
        assert destination.get("packs/0a/0a") == pack.read_bytes()
        with pytest.raises(Exists):
            destination.put("packs/0a/0a", pack)


class TestGcs(CloudContract):
    @pytest.fixture
    def settings(self, gcs: GcsServer) -> RemoteSettings:
        return gcs.settings(gcs.bucket(), prefix="backups/here")

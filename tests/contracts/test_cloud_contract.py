"""The contract of destinations, on the clouds: real SDKs over real connections to servers on this machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks.destinations import Destination, open_destination
from tasks.destinations.remote import RemoteSettings
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


class TestGcs(CloudContract):
    @pytest.fixture
    def settings(self, gcs: GcsServer) -> RemoteSettings:
        return gcs.settings(gcs.bucket(), prefix="backups/here")

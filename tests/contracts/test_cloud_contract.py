"""The contract of destinations, on the clouds: real SDKs over real connections to servers on this machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks.destinations import Destination, open_destination
from tasks.destinations.s3 import S3Settings
from tests.contracts.destination_contract import DestinationContract
from tests.stores.s3 import S3Server


class CloudContract(DestinationContract):
    rounds, kills, turns = 12, 5, 6
    many, unfinished_listings = 1100, 20
    arrives_late = True


class TestS3(CloudContract):
    @pytest.fixture
    def settings(self, s3: S3Server) -> S3Settings:
        return s3.settings(s3.bucket())

    @pytest.fixture
    def destination(self, settings: S3Settings) -> Destination:
        return open_destination(settings)

    @pytest.fixture
    def reopen(self, settings: S3Settings) -> Callable[[], Destination]:
        return lambda: open_destination(settings)

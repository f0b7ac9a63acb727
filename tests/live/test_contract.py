"""The contract of destinations, on the clouds themselves: create-only among racing writers above all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks.destinations.remote import RemoteSettings
from tests.contracts.test_cloud_contract import CloudContract


class TestLive(CloudContract):
    rounds, kills, turns = 6, 2, 3

    @pytest.fixture
    def settings(self, live: Callable[..., RemoteSettings]) -> RemoteSettings:
        return live("owner")

"""Clouds behind a connection that delays, cuts, resets, flips and refuses: what is reported is what is true."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tasks.destinations import Destination, open_destination
from tasks.destinations.azure import Azure
from tasks.destinations.gcs import Gcs
from tasks.destinations.retrying import Retrying
from tasks.destinations.s3 import S3
from tasks.errors import BackupError, Missing
from tests.stores.azure import ACCOUNT, AzureServer
from tests.stores.faulty_proxy import FAULTS, FaultyProxy, faulty_proxy
from tests.stores.gcs import GcsServer
from tests.stores.s3 import S3Server

TRIALS = int(os.environ.get("GEOMETRA_BACKUP_FAULT_TRIALS", "200" if os.environ.get("CI") == "true" else "40"))
"""For each cloud."""
SHORT: dict[str, Any] = {
    "connect_timeout": timedelta(seconds=0.25),
    "read_timeout": timedelta(seconds=0.25),
    "deadline": timedelta(seconds=20),
}


class FaultContract:
    @pytest.fixture
    def reached(self) -> Iterator[tuple[FaultyProxy, Destination, Destination]]:
        """The proxy, the store behind it, and the same store without it."""
        raise NotImplementedError

    @pytest.mark.timeout(600)
    def test_whatever_the_connection_does_what_is_reported_is_true(
        self, reached: tuple[FaultyProxy, Destination, Destination]
    ) -> None:
        proxy, faulty, direct = reached
        ended: Counter[str] = Counter()
        for seed in range(TRIALS):
            chance = random.Random(seed)
            name, content = f"trial/{seed:05}", chance.randbytes(chance.choice([0, 1, 5_000, 300_000]))
            # Most get through; each tenth never does.
            hopeless = seed % 10 == 9
            proxy.schedule(seed, *((1.0, 6) if hopeless else (0.35, 3)))
            try:
                faulty.put(name, content)
                ended["stored"] += 1
                assert direct.get(name) == content, seed
            except BackupError as error:
                ended[error.kind] += 1
                try:
                    assert direct.get(name) == content, seed
                except Missing:
                    continue
            try:
                assert faulty.get(name) == content, seed
                assert len(faulty.get(name, 0, len(content) // 2)) == len(content) // 2, seed
                assert [each.name for each in faulty.list(name)] == [name], seed
                ended["read"] += 1
            except BackupError as error:
                ended[f"reading: {error.kind}"] += 1
        assert ended["stored"] > TRIALS * 0.8, ended
        assert ended["read"] > TRIALS * 0.7, ended
        assert set(proxy.happened) == set(FAULTS)


def _impatient(kind: Callable[[Any], Destination], settings: Any) -> Destination:
    return Retrying(kind(settings), settings, first_pause=0.01)


class TestS3Faults(FaultContract):
    @pytest.fixture
    def reached(self, s3: S3Server) -> Iterator[tuple[FaultyProxy, Destination, Destination]]:
        settings = s3.settings(s3.bucket())
        with faulty_proxy(s3.url) as (proxy, url):
            yield (
                proxy,
                _impatient(S3, settings.model_copy(update={**SHORT, "endpoint": url})),
                open_destination(settings),
            )


class TestAzureFaults(FaultContract):
    @pytest.fixture
    def reached(self, azure: AzureServer) -> Iterator[tuple[FaultyProxy, Destination, Destination]]:
        settings = azure.settings(azure.container())
        with faulty_proxy(azure.url) as (proxy, url):
            through = settings.model_copy(update={**SHORT, "url": f"{url}/{ACCOUNT}"})
            yield proxy, _impatient(Azure, through), open_destination(settings)


class TestGcsFaults(FaultContract):
    @pytest.fixture
    def reached(self, gcs: GcsServer) -> Iterator[tuple[FaultyProxy, Destination, Destination]]:
        settings = gcs.settings(gcs.bucket())
        with faulty_proxy(gcs.url) as (proxy, url):
            through = settings.model_copy(update={**SHORT, "endpoint": url})
            yield proxy, _impatient(Gcs, through), open_destination(settings)
